//! The spine: text in, code out, and never a panic.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proc_macro2::TokenStream;

use crate::{check, emit, parse, report};

/// The expansion of `recipe! { input }`: a checked plan and its types, or every problem at once and a stub.
pub(crate) fn expand(input: TokenStream) -> TokenStream {
    catch_unwind(AssertUnwindSafe(|| road(input))).unwrap_or_else(|_| report::panicked())
}

fn road(input: TokenStream) -> TokenStream {
    let (written, unread) = parse::recipe(input);
    match check::plan(&written, unread) {
        Ok(checked) => emit::recipe(&written.header, &checked),
        Err(problems) => emit::stub(&written.header, problems.tokens()),
    }
}
