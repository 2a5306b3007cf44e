//! The compiler's proof: every kernel, for every specialisation of the shipped recipes, becomes a cubin within its budget. What is
//! compiled for compute capability 8.0 is the text that 8.6 and 8.9 compile too.

use std::collections::{HashMap, HashSet};

use rayon::prelude::*;

use crate::cuda::Kernel;
use crate::cuda::nvrtc::{Architecture, Nvrtc};
use crate::cuda::shipped;
use crate::cuda::source::Source;

/// Bytes that a thread may spill on what runs kernels that were tuned for others.
const MOST_SPILLED: u32 = 128;

/// What `ptxas -v` says of one kernel.
#[derive(Debug, Default)]
struct Taken {
    registers: u32,
    spilled: u32,
    stack: u32,
    shared: u32,
}

/// Reads the account of `entry` in the compiler's log.
fn taken(log: &str, entry: &str) -> Taken {
    let mut taken = Taken::default();
    let lines = log.lines().skip_while(|line| !line.contains(&format!("Compiling entry function '{entry}'")));
    for line in lines.skip(1).take_while(|line| !line.contains("Compiling entry")) {
        let before = |word: &str| -> u32 {
            let text = line.split(word).next().filter(|head| head.len() < line.len()).unwrap_or("");
            text.split_whitespace().next_back().and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        taken.registers += before(" registers");
        taken.spilled += before(" bytes spill stores") + before(" bytes spill loads");
        taken.stack += before(" bytes stack frame");
        taken.shared += before(" bytes smem");
    }
    taken
}

#[test]
fn every_kernel_compiles_within_its_budget() {
    let kernels = shipped::kernels();
    let sources: HashSet<&Source> = kernels.iter().map(|kernel| &kernel.source).collect();
    for architecture in [Architecture::Sm80, Architecture::Sm90a, Architecture::Sm100, Architecture::Sm120] {
        let nvrtc = match Nvrtc::load(architecture) {
            Ok(nvrtc) => nvrtc,
            Err(error) => {
                assert!(std::env::var_os("NVRTC_REQUIRED").is_none(), "{error}");
                eprintln!("!! NOT RUN: no kernel was compiled for a GPU, since {error}");
                return;
            }
        };
        let compile = |source: &&Source| {
            let compiled = nvrtc.compile_verbose(source).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(&compiled.cubin[..4], b"\x7fELF");
            ((*source).clone(), compiled.log)
        };
        let fits = |source: &Source| architecture == Architecture::Sm90a || !source.hopper();
        let sources: Vec<&Source> = sources.iter().copied().filter(|source| fits(source)).collect();
        let logs: HashMap<Source, String> = sources.par_iter().map(compile).collect();
        kernels
            .iter()
            .filter(|kernel| fits(&kernel.source))
            .for_each(|kernel| within_budget(kernel, &logs[&kernel.source], architecture));
    }
}

fn within_budget(kernel: &Kernel, log: &str, architecture: Architecture) {
    let (taken, entry) = (taken(log, kernel.entry), kernel.entry);
    let hopper = kernel.source.hopper();
    let (registers, shared) = (kernel.budget.registers(kernel.threads), kernel.budget.shared(hopper));
    println!(
        "{} {entry} {:?}: {} of {registers} registers, {} bytes spilled, {} of {shared} bytes shared",
        architecture.name(),
        kernel.source.constants,
        taken.registers,
        taken.spilled,
        kernel.shared + taken.shared
    );
    // Where it cannot tell when registers of a product are free, the compiler lets each wait for the last (C7510 to C7519).
    assert!(!log.contains("serialized"), "the products of {entry} wait for each other: {log}");
    assert!(!log.contains("setmaxnreg"), "warpgroups of {entry} hand no registers on: {log}");
    assert!(taken.registers > 0, "no account of {entry} in {log}");
    let tuned = [Architecture::Sm80, Architecture::Sm90a].contains(&architecture);
    assert!(taken.spilled + taken.stack <= if tuned { 0 } else { MOST_SPILLED }, "{entry} spills: {taken:?}");
    // Where warpgroups hand registers on (setmaxnreg), what one asks for has to be there from the start: all of them.
    assert!(!hopper || taken.registers == registers, "{entry} begins with {} registers", taken.registers);
    assert!(taken.registers <= registers, "{entry} takes {} registers, its budget is {registers}", taken.registers);
    assert!(kernel.shared + taken.shared <= shared, "{entry} takes {} bytes of shared memory", kernel.shared);
}
