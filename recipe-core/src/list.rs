//! Text and lists that may live in a constant.

use std::borrow::Cow;

/// Text that may live in a constant.
pub type Text = Cow<'static, str>;
/// A list that may live in a constant.
pub type List<T> = Cow<'static, [T]>;
