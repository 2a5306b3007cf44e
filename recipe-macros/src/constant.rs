//! Any value that serde can walk, written as a Rust constant.
//!
//! The plan's types derive `Serialize` without renames, so serde's names are Rust's names, and this one emitter writes
//! every type that a plan is made of, also those that are added later. It writes
//!
//! ```text
//! StagePlan { steps: 1000, length: 131_072, lr: 2e-5, schedule: Schedule::Constant }
//! ```
//!
//! where the names of `::context_recipe::plan` are in scope.

use std::fmt;

use proc_macro2::{Literal, TokenStream};
use quote::{format_ident, quote};
use serde::ser::{self, Serialize, Serializer};

/// The expression that makes `value`.
pub(crate) fn of<T: Serialize + ?Sized>(value: &T) -> TokenStream {
    // Only maps and byte strings have no constant, and a plan holds none.
    value.serialize(Expression).unwrap_or_else(|Unwritable(why)| quote!(::core::compile_error!(#why)))
}

/// A value that has no constant expression.
#[derive(Debug)]
pub(crate) struct Unwritable(String);

impl fmt::Display for Unwritable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Unwritable {}

impl ser::Error for Unwritable {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

type Written = Result<TokenStream, Unwritable>;

fn unwritable<T>(what: &str) -> Result<T, Unwritable> {
    Err(Unwritable(format!("{what} cannot be written as a constant")))
}

fn path(name: &str) -> TokenStream {
    let name = format_ident!("{name}");
    quote!(#name)
}

fn variant_path(name: &str, variant: &str) -> TokenStream {
    let (path, variant) = (path(name), format_ident!("{variant}"));
    quote!(#path::#variant)
}

/// 131072 as `131_072`.
pub(crate) fn integer(value: u64) -> TokenStream {
    if value == u64::MAX {
        return quote!(u64::MAX);
    }
    let digits = value.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) && digits.len() > 4 {
            grouped.push('_');
        }
        grouped.push(digit);
    }
    literal(&grouped)
}

/// 0.00002 as `2e-5`, 500000 as `500000.0`.
fn float(value: f64) -> TokenStream {
    if value.is_nan() {
        return quote!(f64::NAN);
    }
    let size = if value.is_infinite() { quote!(f64::INFINITY) } else { literal(&format!("{:?}", value.abs())) };
    if value.is_sign_negative() { quote!(-#size) } else { size }
}

/// `text` is a number that Rust wrote, so it is a literal.
fn literal(text: &str) -> TokenStream {
    text.parse::<Literal>().map_or_else(|_| quote!(::core::compile_error!("not a number")), |literal| quote!(#literal))
}

/// The serializer itself holds nothing: every value is one expression.
struct Expression;

impl Serializer for Expression {
    type Ok = TokenStream;
    type Error = Unwritable;
    type SerializeSeq = Elements;
    type SerializeTuple = Elements;
    type SerializeTupleStruct = Elements;
    type SerializeTupleVariant = Elements;
    type SerializeMap = ser::Impossible<TokenStream, Unwritable>;
    type SerializeStruct = Fields;
    type SerializeStructVariant = Fields;

    fn serialize_bool(self, value: bool) -> Written {
        Ok(quote!(#value))
    }

    fn serialize_i64(self, value: i64) -> Written {
        let size = integer(value.unsigned_abs());
        Ok(if value < 0 { quote!(-#size) } else { size })
    }

    fn serialize_u64(self, value: u64) -> Written {
        Ok(integer(value))
    }

    fn serialize_f64(self, value: f64) -> Written {
        Ok(float(value))
    }

    fn serialize_str(self, value: &str) -> Written {
        Ok(quote!(Text::Borrowed(#value)))
    }

    fn serialize_none(self) -> Written {
        Ok(quote!(::core::option::Option::None))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Written {
        let value = value.serialize(Self)?;
        Ok(quote!(::core::option::Option::Some(#value)))
    }

    fn serialize_unit_struct(self, name: &'static str) -> Written {
        Ok(path(name))
    }

    fn serialize_unit_variant(self, name: &'static str, _: u32, variant: &'static str) -> Written {
        Ok(variant_path(name, variant))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Written {
        let (path, value) = (path(name), value.serialize(Self)?);
        Ok(quote!(#path(#value)))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Written {
        let (path, value) = (variant_path(name, variant), value.serialize(Self)?);
        Ok(quote!(#path(#value)))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Elements, Unwritable> {
        Ok(Elements::new(|items| quote!(List::Borrowed(&[#items])), quote!()))
    }

    fn serialize_tuple(self, _: usize) -> Result<Elements, Unwritable> {
        Ok(Elements::new(|items| quote!((#items)), quote!()))
    }

    fn serialize_tuple_struct(self, name: &'static str, _: usize) -> Result<Elements, Unwritable> {
        Ok(Elements::new(|items| quote!((#items)), path(name)))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Elements, Unwritable> {
        Ok(Elements::new(|items| quote!((#items)), variant_path(name, variant)))
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Fields, Unwritable> {
        Ok(Fields { path: path(name), fields: TokenStream::new() })
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Fields, Unwritable> {
        Ok(Fields { path: variant_path(name, variant), fields: TokenStream::new() })
    }

    fn serialize_i8(self, value: i8) -> Written {
        self.serialize_i64(value.into())
    }

    fn serialize_i16(self, value: i16) -> Written {
        self.serialize_i64(value.into())
    }

    fn serialize_i32(self, value: i32) -> Written {
        self.serialize_i64(value.into())
    }

    fn serialize_u8(self, value: u8) -> Written {
        Ok(integer(value.into()))
    }

    fn serialize_u16(self, value: u16) -> Written {
        Ok(integer(value.into()))
    }

    fn serialize_u32(self, value: u32) -> Written {
        Ok(integer(value.into()))
    }

    fn serialize_f32(self, value: f32) -> Written {
        Ok(float(value.into()))
    }

    fn serialize_char(self, value: char) -> Written {
        Ok(quote!(#value))
    }

    fn serialize_unit(self) -> Written {
        Ok(quote!(()))
    }

    fn serialize_bytes(self, _: &[u8]) -> Written {
        unwritable("a byte string")
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Unwritable> {
        unwritable("a map")
    }
}

/// `[a, b]`, `(a, b)`, `Name(a, b)`.
struct Elements {
    wrap: fn(TokenStream) -> TokenStream,
    path: TokenStream,
    items: TokenStream,
}

impl Elements {
    fn new(wrap: fn(TokenStream) -> TokenStream, path: TokenStream) -> Self {
        Self { wrap, path, items: TokenStream::new() }
    }

    fn add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
        let value = value.serialize(Expression)?;
        self.items.extend(quote!(#value,));
        Ok(())
    }

    fn finish(self) -> Written {
        let (path, items) = (self.path, (self.wrap)(self.items));
        Ok(quote!(#path #items))
    }
}

/// `Name { a: 1, b: 2 }`.
struct Fields {
    path: TokenStream,
    fields: TokenStream,
}

impl Fields {
    fn add<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Unwritable> {
        let (key, value) = (format_ident!("{key}"), value.serialize(Expression)?);
        self.fields.extend(quote!(#key: #value,));
        Ok(())
    }

    fn finish(self) -> Written {
        let Self { path, fields } = self;
        Ok(quote!(#path { #fields }))
    }
}

/// serde has one trait for each shape of list and of struct; they all say the same.
macro_rules! compound {
    ($($type:ident: $trait:ident, $add:ident($($key:ident)?);)*) => {
        $(impl ser::$trait for $type {
            type Ok = TokenStream;
            type Error = Unwritable;

            fn $add<T: Serialize + ?Sized>(&mut self, $($key: &'static str,)? value: &T) -> Result<(), Unwritable> {
                self.add($($key,)? value)
            }

            fn end(self) -> Written {
                self.finish()
            }
        })*
    };
}

compound! {
    Elements: SerializeSeq, serialize_element();
    Elements: SerializeTuple, serialize_element();
    Elements: SerializeTupleStruct, serialize_field();
    Elements: SerializeTupleVariant, serialize_field();
    Fields: SerializeStruct, serialize_field(key);
    Fields: SerializeStructVariant, serialize_field(key);
}

#[cfg(test)]
mod tests {
    use recipe_core::{Device, EvalPlan, Note, Pattern};

    use super::*;

    fn written<T: Serialize>(value: &T) -> String {
        of(value).to_string().replace(' ', "")
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(written(&2e-5), "2e-5");
        assert_eq!(written(&500_000.0), "500000.0");
        assert_eq!(written(&-1.5), "-1.5");
        assert_eq!(written(&131_072_usize), "131_072");
        assert_eq!(written(&4096_usize), "4096");
        assert_eq!(written(&u64::MAX), "u64::MAX");
        assert_eq!(written(&f64::INFINITY), "f64::INFINITY");
    }

    #[test]
    fn types_are_written_by_their_names() {
        assert_eq!(written(&Pattern::Full), "Pattern::Full");
        assert_eq!(written(&Pattern::Window { window: 4096, sink: 4 }), "Pattern::Window{window:4096,sink:4,}");
        assert_eq!(written(&Device::cuda(80_000_000_000)), "Device::Cuda{memory:80_000_000_000,deterministic:false,}");
        let eval = EvalPlan::Passkey { lengths: vec![1, 2].into() };
        assert_eq!(written(&eval), "EvalPlan::Passkey{lengths:List::Borrowed(&[1,2,]),}");
        let note = Note { rule: "a".into(), message: "b".into() };
        assert_eq!(written(&note), "Note{rule:Text::Borrowed(\"a\"),message:Text::Borrowed(\"b\"),}");
    }

    #[test]
    fn a_map_is_refused_by_name() {
        let map = std::collections::BTreeMap::from([(1, 2)]);
        assert_eq!(written(&map), "::core::compile_error!(\"amapcannotbewrittenasaconstant\")");
    }
}
