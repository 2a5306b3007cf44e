//! The crates' arrows: nothing depends on anything that it should not know.

use std::collections::BTreeSet;
use std::process::Command;

/// `(from, to)`, and no other.
const ARROWS: [(&str, &str); 4] = [
    ("context-recipe", "context-recipe-kernels"),
    ("context-recipe", "recipe-core"),
    ("context-recipe", "recipe-macros"),
    ("recipe-macros", "recipe-core"),
];

#[test]
fn only_the_allowed_arrows_exist() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .expect("cargo metadata runs");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("there are packages");
    let names: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let mut found = BTreeSet::new();
    for package in packages {
        let from = package["name"].as_str().expect("a package has a name");
        let needs = package["dependencies"].as_array().expect("a package has dependencies");
        let built = needs.iter().filter(|need| need["kind"] != "dev").filter_map(|need| need["name"].as_str());
        found.extend(built.filter(|to| names.contains(to)).map(|to| (from, to)));
    }
    assert_eq!(found, BTreeSet::from(ARROWS));
}
