//! `check` once more, watched by NVIDIA's compute-sanitizer.

use std::env;
use std::path::Path;
use std::process::Command;

/// What it looks for, one run each.
const TOOLS: [&str; 4] = ["memcheck", "racecheck", "synccheck", "initcheck"];
/// What it ends with where it found something.
const FOUND: i32 = 86;

/// Runs this program's `check` under each tool.
pub(crate) fn run(sanitizer: &Path, kernels: Option<&Path>) -> Result<(), String> {
    let program = env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let mut bad = vec![];
    for tool in TOOLS {
        let mut command = Command::new(sanitizer);
        command.args(["--tool", tool, "--error-exitcode", &FOUND.to_string(), "--print-limit", "50"]);
        if tool == "memcheck" {
            // NVIDIA's libraries ask for things that a machine may not have, and go on when they are told so.
            command.args(["--report-api-errors", "no"]);
        }
        command.arg(&program).arg("check");
        command.args(kernels.into_iter().flat_map(|folder| [Path::new("--kernels"), folder]));
        println!("{tool}");
        let missing = |error| {
            let sanitizer = sanitizer.display();
            format!(
                "{sanitizer}: {error}; it comes with the CUDA toolkit: write --tool /usr/local/cuda/bin/compute-sanitizer"
            )
        };
        let status = command.status().map_err(missing)?;
        if !status.success() {
            let said = if status.code() == Some(FOUND) { "found something" } else { "did not end well" };
            bad.push(format!("{tool} {said} ({status})"));
        }
    }
    if bad.is_empty() { Ok(()) } else { Err(bad.join("; ")) }
}
