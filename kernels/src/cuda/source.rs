//! The text of kernels, put together for one set of constants.

use std::hash::{Hash, Hasher};

use super::driver::Result;

/// Helpers of every kernel.
pub(crate) const PRELUDE: &str = include_str!("prelude.cuh");
/// The instructions, for the GPU.
pub(crate) const PRIMITIVES: &str = include_str!("primitives.cuh");
/// Those of compute capability 9.0 alone: one of the texts of a kernel that takes them.
pub(crate) const HOPPER: &str = include_str!("hopper.cuh");

/// A file of kernels and the constants it is compiled with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file's name, for messages.
    pub file: &'static str,
    /// Texts in the order they are read in: what several files share, then the file itself.
    pub texts: Vec<&'static str>,
    /// Names and values that the text asks for.
    pub constants: Vec<(&'static str, i64)>,
}

/// A launch looks its kernel up: the name and the constants tell apart as well as all of the text.
impl Hash for Source {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.file, &self.constants).hash(state);
    }
}

impl Source {
    /// Whether it takes what only compute capability 9.0 has.
    pub fn hopper(&self) -> bool {
        self.texts.contains(&HOPPER)
    }

    /// The text for a GPU's compiler.
    pub fn text(&self) -> String {
        let mut first = vec![("primitives.cuh", PRIMITIVES)];
        first.extend(self.hopper().then_some(("hopper.cuh", HOPPER)));
        self.assemble(&first)
    }

    /// `first`, the prelude, the constants, the file; lines are numbered by file.
    pub(crate) fn assemble(&self, first: &[(&str, &str)]) -> String {
        let shared = first.iter().copied().chain([("prelude.cuh", PRELUDE)]);
        let numbered = |(file, text): (&str, &str)| format!("#line 1 \"{file}\"\n{text}\n");
        let constants = self.constants.iter().map(|(name, value)| format!("#define {name} {value}\n"));
        let own = self.texts.iter().filter(|text| **text != HOPPER).map(|text| numbered((self.file, text)));
        shared.map(numbered).chain(constants).chain(own).collect()
    }
}

/// Turns text into what a driver loads.
pub trait Compiler: Send + Sync {
    /// Everything besides the text that the image depends on: the compiler, its version, the architecture, options.
    fn identity(&self) -> String;
    /// Whether images may use what only compute capability 9.0 has: its copy engine, products of warpgroups.
    fn hopper(&self) -> bool {
        false
    }
    /// The image of a text.
    fn compile(&self, source: &Source) -> Result<Vec<u8>>;
}
