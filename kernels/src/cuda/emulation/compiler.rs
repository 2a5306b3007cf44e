//! The host's C++ compiler.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
#[cfg(test)]
use std::sync::OnceLock;
use std::sync::{Mutex, PoisonError};

use super::system;
use crate::cuda::driver::{Error, Result};
use crate::cuda::source::{Compiler, Source};

const RUNTIME_H: &str = include_str!("runtime.h");
const RUNTIME_CPP: &str = include_str!("runtime.cpp");
const PRIMITIVES_H: &str = include_str!("primitives.h");
const HOPPER_H: &str = include_str!("hopper.h");

/// One compilation at a time: tests that want the same text wait for the first to have it in the cache.
static TURN: Mutex<()> = Mutex::new(());

/// g++ or clang++.
#[derive(Debug)]
pub struct HostCompiler {
    program: &'static str,
    version: String,
    hopper: bool,
    /// With AddressSanitizer.
    sanitized: bool,
    mistake: Option<Mistake>,
}

/// Something that every file with a word in it is compiled without: the occurrence `number` of `text`.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(test), allow(dead_code, reason = "only tests of the emulation itself make mistakes"))]
pub(crate) struct Mistake {
    pub(crate) word: &'static str,
    pub(crate) text: &'static str,
    pub(crate) number: usize,
}

impl Mistake {
    fn made_in(&self, file: &str) -> String {
        let Mistake { word, text, number } = *self;
        match file.match_indices(text).nth(number).filter(|_| file.contains(word)) {
            Some((at, _)) => format!("{}{}", &file[..at], &file[at + text.len()..]),
            None => file.to_owned(),
        }
    }
}

impl HostCompiler {
    /// The first that answers; `CXX` is not asked, since it may name a cross compiler.
    pub(crate) fn find() -> Option<HostCompiler> {
        ["g++", "clang++"].into_iter().find_map(|program| {
            let output = Command::new(program).arg("--version").output().ok()?;
            let version = String::from_utf8_lossy(&output.stdout).lines().next()?.to_owned();
            output.status.success().then_some(HostCompiler {
                program,
                version,
                hopper: false,
                sanitized: false,
                mistake: None,
            })
        })
    }

    /// The same for compute capability 9.0, or for others.
    pub(crate) fn for_hopper(self, hopper: bool) -> HostCompiler {
        HostCompiler { hopper, ..self }
    }

    /// The same, making a mistake.
    #[cfg(test)]
    pub(crate) fn with(self, mistake: Option<Mistake>) -> HostCompiler {
        HostCompiler { mistake, ..self }
    }

    /// The same with AddressSanitizer, where this compiler has it.
    #[cfg(test)]
    pub(crate) fn sanitized(self) -> HostCompiler {
        static HAS: OnceLock<bool> = OnceLock::new();
        let sanitized = HostCompiler { sanitized: true, ..self };
        let has = *HAS.get_or_init(|| sanitized.child().is_ok());
        if !has {
            eprintln!("!! NOT RUN: {} has no AddressSanitizer; kernels were emulated without it", sanitized.program);
        }
        HostCompiler { sanitized: has, ..sanitized }
    }

    /// Whether AddressSanitizer is there.
    #[cfg(test)]
    pub(crate) fn watches(&self) -> bool {
        self.sanitized
    }

    /// The program that runs kernels, compiled unless it is there.
    pub(crate) fn child(&self) -> Result<PathBuf> {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let digest =
            crate::cuda::cache::hash(format!("{}{}{RUNTIME_H}{RUNTIME_CPP}", self.version, self.sanitized).as_bytes());
        let program = super::folder().join(format!("runtime-{digest:016x}"));
        if program.exists() {
            return Ok(program);
        }
        let options = ["-O3", "-rdynamic", "-Wall", "-Werror"];
        let built = self.build("runtime.cpp", RUNTIME_CPP, &options, &["-ldl"])?;
        fs::rename(&built, &program).map_err(system(format!("moving {}", built.display())))?;
        clear(&built);
        Ok(program)
    }

    /// Compiles a text in a folder of its own and returns what came out; [`clear`] removes the folder.
    fn build(&self, file: &str, text: &str, options: &[&str], libraries: &[&str]) -> Result<PathBuf> {
        let dir = super::folder().join(format!("build-{}", std::process::id()));
        fs::create_dir_all(&dir).map_err(system(format!("making {}", dir.display())))?;
        let (input, output) = (dir.join("text.cpp"), dir.join("image"));
        let write =
            |path: &Path, text: &str| fs::write(path, text).map_err(system(format!("writing {}", path.display())));
        write(&input, text)?;
        write(&dir.join("runtime.h"), RUNTIME_H)?;
        let done = Command::new(self.program)
            .args(["-std=c++17", "-fno-strict-aliasing"])
            .args(self.sanitized.then_some("-fsanitize=address"))
            .args(options)
            .arg("-o")
            .args([&output, &input])
            .args(libraries)
            .output()
            .map_err(system(self.program))?;
        let log = String::from_utf8_lossy(&done.stderr).into_owned();
        if done.status.success() { Ok(output) } else { Err(Error::Compile { what: file.to_owned(), log }) }
    }
}

impl Compiler for HostCompiler {
    fn identity(&self) -> String {
        format!("{} {} {:?}\n{RUNTIME_H}{PRIMITIVES_H}{HOPPER_H}", self.version, self.sanitized, self.mistake)
    }

    fn hopper(&self) -> bool {
        self.hopper
    }

    fn compile(&self, source: &Source) -> Result<Vec<u8>> {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut first = vec![("runtime.h", RUNTIME_H), ("primitives.h", PRIMITIVES_H)];
        first.extend(source.hopper().then_some(("hopper.h", HOPPER_H)));
        let mut text = source.assemble(&first);
        if let Some(mistake) = self.mistake {
            text = mistake.made_in(&text);
        }
        // Helpers that a file leaves unused are no mistake.
        let options = ["-O2", "-fPIC", "-shared", "-Wall", "-Werror", "-Wno-unused-function", "-Wno-unknown-pragmas"];
        let built = self.build(source.file, &text, &options, &[])?;
        let image = fs::read(&built).map_err(system(format!("reading {}", built.display())));
        clear(&built);
        image
    }
}

/// Removes the folder of something that was built. One that stays costs space, nothing else.
fn clear(built: &Path) {
    let _ = built.parent().map(fs::remove_dir_all);
}
