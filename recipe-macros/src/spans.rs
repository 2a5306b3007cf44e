//! Which tokens a rule's [`Field`] stands for.

use std::collections::BTreeMap;

use proc_macro2::TokenStream;
use recipe_core::Field;

/// Field path → the user's tokens.
pub(crate) struct Spans {
    /// Where a fault goes that no written key answers for: the recipe's name.
    name: TokenStream,
    places: BTreeMap<String, TokenStream>,
}

impl Spans {
    pub(crate) fn new(name: TokenStream) -> Self {
        Self { name, places: BTreeMap::new() }
    }

    /// The first place noted for a field stays.
    pub(crate) fn note(&mut self, field: &Field, tokens: &TokenStream) {
        self.places.entry(field.path().to_owned()).or_insert_with(|| tokens.clone());
    }

    /// The field's tokens, or those of its nearest written parent.
    pub(crate) fn place(&self, field: &Field) -> TokenStream {
        let mut field = Some(field.clone());
        while let Some(at) = field {
            if let Some(tokens) = self.places.get(at.path()) {
                return tokens.clone();
            }
            field = at.parent();
        }
        self.name.clone()
    }
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    #[test]
    fn a_field_that_was_not_written_falls_back_to_its_parent_and_at_last_to_the_name() {
        let mut spans = Spans::new(quote!(Name));
        spans.note(&Field::new("train[0]"), &quote!(extend(steps = 1)));
        spans.note(&Field::new("train[0].steps"), &quote!(1));
        let place = |path: &'static str| spans.place(&Field::new(path)).to_string();
        assert_eq!(place("train[0].steps"), "1");
        assert_eq!(place("train[0].lr"), quote!(extend(steps = 1)).to_string());
        assert_eq!(place("rope.scale"), "Name");
    }
}
