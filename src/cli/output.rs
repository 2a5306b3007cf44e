//! Standard output and standard error. A reader that has seen enough, as in `… plan | head`, is no error: the command goes on
//! to its end, whose files and status somebody may still want. `print!` and `eprint!` would panic.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use crate::{Error, Result};

/// A line on standard output, written as `println!` writes it.
macro_rules! say {
    ($($words:tt)*) => {
        $crate::cli::output::print(format_args!("{}\n", format_args!($($words)*)))
    };
}

/// A line on standard error, where it is read. There is nowhere to say that it is not.
macro_rules! tell {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($words)*);
    }};
}

/// Words on standard output.
///
/// # Errors
/// They cannot be written, for another reason than that nobody reads them.
pub(super) fn print(words: impl Display) -> Result<()> {
    write(words).or_else(forgiven)
}

/// The same with the error that [`forgiven`] forgives, for those who stop when nobody reads on.
pub(super) fn write(words: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    write!(out, "{words}").and_then(|()| out.flush())
}

/// Nothing where nobody reads on.
pub(super) fn forgiven(error: io::Error) -> Result<()> {
    match error.kind() {
        ErrorKind::BrokenPipe => Ok(()),
        _ => Err(Error::usage(format!("standard output could not be written: {error}"))),
    }
}
