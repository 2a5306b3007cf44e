//! Whole checkpoints: read, written, damaged.

mod real;
