//! What a person reads when a recipe is wrong: each file under `tests/ui/` is compiled, and place and words of every
//! message are held against the `.expected` file beside it. Files under `pass/` compile without a word.
//!
//! Only our own part is compared (line, column, text), taken from rustc's JSON, so a newer rustc that draws its carets
//! otherwise changes nothing here. `UPDATE_UI=1 cargo test --test ui` writes the expected files anew.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

#[test]
fn every_recipe_says_what_is_wrong_with_it() {
    let ui = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui");
    let cases = files(&ui, "rs");
    assert!(cases.len() >= 45, "only {} cases under {}", cases.len(), ui.display());
    let library = library();
    let mut complaints = in_parallel(&cases, |case| check(&ui, case, &library));
    for expected in files(&ui, "expected") {
        if !expected.with_extension("rs").exists() {
            complaints.push(format!("{}: there is no such case", expected.display()));
        }
    }
    assert!(complaints.is_empty(), "\n{}\nUPDATE_UI=1 accepts what is new", complaints.join("\n"));
}

/// The complaint about one case, if there is one.
fn check(ui: &Path, case: &Path, library: &Path) -> Option<String> {
    let found = messages(ui, case, library);
    let expected = case.with_extension("expected");
    if case.components().any(|part| part.as_os_str() == "pass") {
        return (!found.is_empty()).then(|| format!("{}: should compile silently, but:\n{found}", case.display()));
    }
    if found.is_empty() {
        return Some(format!("{}: compiles, though it should not", case.display()));
    }
    let before = std::fs::read_to_string(&expected).unwrap_or_default();
    if before == found {
        return None;
    }
    if std::env::var_os("UPDATE_UI").is_some() {
        std::fs::write(&expected, &found).unwrap();
        return None;
    }
    Some(format!("{}:\n--- expected\n{before}\n--- found\n{found}", case.display()))
}

/// What rustc says about `case`: a line with the place, the message, an empty line.
fn messages(ui: &Path, case: &Path, library: &Path) -> String {
    let out = tempfile::tempdir().unwrap();
    let output = Command::new("rustc")
        .args(["--edition=2024", "--crate-type=bin", "--emit=metadata", "--error-format=json", "--out-dir"])
        .arg(out.path())
        .arg("-L")
        .arg(format!("dependency={}", library.parent().unwrap().join("deps").display()))
        .arg("-L")
        .arg(format!("dependency={}", library.parent().unwrap().display()))
        .arg("--extern")
        .arg(format!("context_recipe={}", library.display()))
        .arg(case)
        .env("CARGO_MANIFEST_DIR", ui)
        .output()
        .expect("rustc runs");
    let stderr = String::from_utf8(output.stderr).unwrap();
    let diagnostics =
        stderr.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("{line}")));
    let mut text = String::new();
    for diagnostic in diagnostics {
        // The closing "aborting due to 3 errors" has no place.
        if let Some(place) = place(&diagnostic, case) {
            let words = words(&diagnostic).replace(&ui.display().to_string(), "$DIR");
            writeln!(text, "{place}\n{words}\n").unwrap();
        }
    }
    text
}

/// `line:column..line:column` of the primary span in the case's own file.
fn place(diagnostic: &Value, case: &Path) -> Option<String> {
    let spans = diagnostic["spans"].as_array()?;
    let own = |span: &&Value| span["is_primary"] == true && span["file_name"].as_str().map(Path::new) == Some(case);
    let span = spans.iter().find(own).or(spans.first())?;
    Some(format!("{}:{}..{}:{}", span["line_start"], span["column_start"], span["line_end"], span["column_end"]))
}

/// The message where the words are ours (`compile_error!` and `on_unimplemented`); elsewhere rustc's code alone.
fn words(diagnostic: &Value) -> String {
    let message = diagnostic["message"].as_str().unwrap_or_default();
    match diagnostic["code"]["code"].as_str() {
        None => message.to_owned(),
        // rustc leaves a path out where a name is the only one of its kind, which changes with every crate around it.
        Some("E0277") => format!("E0277 {}", message.replace("context_recipe::model::", "")),
        Some(code) => code.to_owned(),
    }
}

/// The library that this very test was built against: asked of cargo, which has it ready and only tells where.
fn library() -> PathBuf {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
        .args(["test", "--offline", "--no-run", "--test", "ui", "--message-format=json"])
        .args(build())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let stdout = String::from_utf8(output.stdout).unwrap();
    let artifacts = stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let files = artifacts
        .filter(|artifact| artifact["target"]["name"] == "context_recipe")
        .flat_map(|artifact| artifact["filenames"].as_array().cloned().unwrap_or_default());
    let mut libraries =
        files.filter_map(|file| file.as_str().filter(|file| file.ends_with(".rlib")).map(PathBuf::from));
    libraries.next().unwrap_or_else(|| panic!("no library:\n{stdout}\n{}", String::from_utf8_lossy(&output.stderr)))
}

/// The folder and profile that this test was built in, read off its own path: `target/<profile>/deps/ui-…`.
fn build() -> Vec<std::ffi::OsString> {
    let exe = std::env::current_exe().unwrap();
    let (profile, target) = (exe.ancestors().nth(2).unwrap(), exe.ancestors().nth(3).unwrap());
    let profile = match profile.file_name().unwrap() {
        debug if debug == "debug" => "dev".into(),
        other => other.to_owned(),
    };
    vec!["--profile".into(), profile, "--target-dir".into(), target.into()]
}

/// All files with this extension below `folder`, sorted.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|own| own == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// `work` on every case, on all cores.
fn in_parallel(cases: &[PathBuf], work: impl Fn(&Path) -> Option<String> + Sync) -> Vec<String> {
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let worker = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Some(complaint) = work(case) {
                found.lock().unwrap().push(complaint);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(worker);
        }
    });
    let mut found = found.into_inner().unwrap();
    found.sort();
    found
}
