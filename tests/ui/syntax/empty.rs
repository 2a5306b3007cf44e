//! An empty recipe lacks its keys.

use context_recipe::recipe;

recipe! {
}

fn main() {}
