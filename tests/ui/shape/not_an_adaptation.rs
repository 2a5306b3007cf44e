//! A way of holding one tensor where the way of holding them all belongs.
use context_recipe::model::{Llama, Trained};

fn run(_: &Llama<6, 512, 128, 128, 64, 384, 0, true, Trained>) {}

fn main() {
    let _ = run;
}
