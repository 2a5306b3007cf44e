//! PyTorch on the same GPU, measured by benches/peers/gpu.py right before.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

/// Milliseconds by the name of a case.
#[derive(Debug, Default)]
pub(crate) struct Peers(HashMap<String, f64>);

impl Peers {
    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }
}

/// Runs PyTorch's cases up to so many tokens.
pub(crate) fn run(python: &Path, tokens: usize) -> Result<Peers, String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/gpu.py");
    let started = Command::new(python).arg(script).arg(tokens.to_string()).output();
    let done = started.map_err(|error| format!("{}: {error}", python.display()))?;
    if !done.status.success() {
        return Err(format!("{script}: {}", String::from_utf8_lossy(&done.stderr)));
    }
    eprint!("{}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    println!("PyTorch: {}", text.lines().next().unwrap_or_default());
    let case = |line: &str| {
        let (name, ms) = line.rsplit_once('\t')?;
        Some((name.to_owned(), ms.parse().ok()?))
    };
    Ok(Peers(text.lines().skip(1).filter_map(case).collect()))
}
