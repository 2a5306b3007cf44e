//! Every command of README.md and of docs/ is run: the `sh` blocks of a page, in their order, in one shell and a folder of
//! their own, with `cargo run --release --example NAME` standing for the example that is built already.
//!
//! A block that names `$SMOLLM2` or `$PEERS_PYTHON` needs what that stands for and runs where it is set; one under
//! `<!-- minutes -->` runs with `DOCS=all`, or `DOCS=docs/` in these pages; one under `<!-- fails -->` has to fail; the one
//! under `<!-- test -->` is what `.ci/run` takes from README.md itself.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A fenced block of commands.
struct Block {
    line: usize,
    /// The word of a comment right before it.
    mark: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README.md and everything in docs/.
fn pages() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<PathBuf> = docs.filter(|path| path.extension().is_some_and(|kind| kind == "md")).collect();
    pages.sort();
    pages.insert(0, root().join("README.md"));
    pages
}

fn blocks(page: &str) -> Vec<Block> {
    let (mut found, mut mark, mut open): (Vec<Block>, String, bool) = (vec![], String::new(), false);
    for (number, line) in page.lines().enumerate() {
        match (open, line.trim()) {
            (true, "```") => open = false,
            (true, _) => {
                let block = found.last_mut().expect("a block is open");
                block.text += &format!("{line}\n");
            }
            (false, "```sh") => {
                open = true;
                found.push(Block { line: number + 1, mark: std::mem::take(&mut mark), text: String::new() });
            }
            (false, other) => {
                let word = other.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"));
                mark = word.unwrap_or_default().to_owned();
            }
        }
    }
    found
}

/// Why a block is left out here, if it is.
fn missing(name: &str, block: &Block) -> Option<String> {
    let unset = |name: &&str| block.text.contains(&format!("${name}")) && std::env::var_os(name).is_none();
    if let Some(name) = ["SMOLLM2", "PEERS_PYTHON"].into_iter().find(unset) {
        return Some(format!("{name} is not set"));
    }
    match block.mark.as_str() {
        "test" => Some(".ci/run runs it".to_owned()),
        "minutes" if !is_asked_for(name) => Some("it takes minutes; DOCS=all runs it".to_owned()),
        _ => None,
    }
}

/// Whether `DOCS` is `all`, or how a page's name begins.
fn is_asked_for(name: &str) -> bool {
    std::env::var("DOCS").is_ok_and(|asked| asked == "all" || name.starts_with(&asked))
}

/// The blocks of a page as one script.
fn script(name: &str, blocks: &[Block]) -> String {
    let mut script = CARGO.to_owned();
    for block in blocks {
        let place = format!("{name}:{}", block.line);
        if let Some(why) = missing(name, block) {
            eprintln!("!! NOT RUN: {place}: {why}");
            continue;
        }
        script += &format!("echo '== {place}' >&2\n");
        match block.mark.as_str() {
            "fails" => script += &format!("if\n{}then echo 'it should fail' >&2; exit 1; fi\n", block.text),
            _ => script += &block.text,
        }
    }
    script
}

const CARGO: &str = r#"set -euo pipefail
cargo() {
    if [ "${1-} ${2-} ${3-}" = 'run --release --example' ]; then
        local program=$4
        shift 4
        if [ "${1-}" = -- ]; then shift; fi
        "$EXAMPLES/$program" "$@"
    else
        command cargo "$@"
    fi
}
"#;

/// What blocks need and a relative path may name.
fn given() -> Vec<(&'static str, PathBuf)> {
    let absolute = |name| Some((name, std::path::absolute(std::env::var_os(name)?).unwrap()));
    ["SMOLLM2", "PEERS_PYTHON"].into_iter().filter_map(absolute).collect()
}

/// What a page's commands find around them.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["assets", "examples", "tests", "scripts"] {
        std::os::unix::fs::symlink(root().join(name), dir.path().join(name)).unwrap();
    }
    dir
}

#[cfg(unix)]
#[test]
fn every_command_runs() {
    let tests = std::env::current_exe().unwrap();
    let examples = tests.parent().and_then(Path::parent).unwrap().join("examples");
    let mut commands = 0;
    for page in pages() {
        let name = page.strip_prefix(root()).unwrap().display().to_string();
        let found = blocks(&fs::read_to_string(&page).unwrap());
        commands += found.len();
        let dir = folder();
        let output = Command::new("bash")
            .args(["-c", &script(&name, &found)])
            .current_dir(dir.path())
            .env("EXAMPLES", &examples)
            .env("CONTEXT_RECIPE", root())
            .envs(given())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {said}\n{}", String::from_utf8_lossy(&output.stdout));
    }
    assert!(commands > 10, "{commands} blocks: the pages are not read");
}

#[test]
fn every_page_is_in_the_table_of_contents() {
    let contents = fs::read_to_string(root().join("docs/README.md")).unwrap();
    for page in pages().iter().skip(1) {
        let name = page.file_name().unwrap().to_str().unwrap();
        assert!(name == "README.md" || contents.contains(&format!("({name})")), "{name}");
    }
}

/// Links to files, in every page.
#[test]
fn no_link_is_broken() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            let outside = file.is_empty() || file.contains("://");
            assert!(outside || page.parent().unwrap().join(file).exists(), "{}: {link}", page.display());
        }
    }
}

#[test]
fn blocks_are_found_with_their_marks() {
    let page = "a\n\n<!-- fails -->\n```sh\nfalse\n```\n\n```text\nx\n```\n```sh\ntrue\necho $SMOLLM2\n```\n";
    let found = blocks(page);
    let shown: Vec<_> = found.iter().map(|block| (block.line, block.mark.as_str(), block.text.as_str())).collect();
    assert_eq!(shown, [(4, "fails", "false\n"), (11, "", "true\necho $SMOLLM2\n")]);
}

/// The program of the quickstart is the one that its page shows.
#[test]
fn the_quickstart_copies_what_it_shows() {
    let read = |name: &str| fs::read_to_string(root().join("docs").join(name)).unwrap();
    let page = read("quickstart.md");
    let shown = page.split("```rust,no_run\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(shown, read("quickstart.rs"));
}
