use super::*;

/// A directory with these empty files, and `README.md` with this front matter where there is one.
fn folder(files: &[&str], front: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    if !front.is_empty() {
        fs::write(dir.path().join("README.md"), format!("---\nlicense: mit\n{front}\nsize: 1\n---\n# Words\n"))
            .unwrap();
    }
    dir
}

fn files_of(dir: &tempfile::TempDir, split: &str, config: &str) -> Result<Vec<String>, String> {
    let wanted = Wanted { path: dir.path(), split, config };
    let files = wanted.files().map_err(|error| error.to_string())?;
    Ok(files.iter().map(|file| wanted.inside(file)).collect())
}

#[test]
fn shards_name_their_split() {
    let dir = folder(
        &[
            "data/train-00001-of-00002.parquet",
            "data/train-00000-of-00002.parquet",
            "data/test_sft-00000-of-00001-c7.parquet",
            "dataset_infos.json",
            ".git/train.jsonl",
        ],
        "",
    );
    let train = ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"];
    assert_eq!(files_of(&dir, "train", "").unwrap(), train);
    assert_eq!(files_of(&dir, "test_sft", "").unwrap(), ["data/test_sft-00000-of-00001-c7.parquet"]);
    let said = files_of(&dir, "validation", "").unwrap_err();
    assert!(said.contains("has no split \"validation\", but \"test_sft\", \"train\"; name one"), "{said}");
}

#[test]
fn words_in_names_and_folders_mean_splits() {
    for (path, split) in [
        ("train.jsonl", Some("train")),
        ("my-train-file.json.gz", Some("train")),
        ("dev/a.jsonl.zst", Some("validation")),
        ("data/valid.txt", Some("validation")),
        ("evaluation_1.parquet", Some("test")),
        ("trainer.jsonl", None),
        ("books.jsonl", None),
    ] {
        assert_eq!(split_of(path).as_deref(), split, "{path}");
    }
    let dir = folder(&["a.jsonl", "b.jsonl"], "");
    assert_eq!(files_of(&dir, "train", "").unwrap(), ["a.jsonl", "b.jsonl"], "no name says a split");
    let dir = folder(&["a.jsonl", "test.jsonl"], "");
    assert_eq!(files_of(&dir, "test", "").unwrap(), ["test.jsonl"]);
    assert!(files_of(&dir, "train", "").unwrap_err().contains("has no split"));
}

#[test]
fn a_card_names_configurations_and_files() {
    let several = "configs:\n- config_name: en\n  data_files:\n  - split: train\n    path: en/part-*\n  - split: test\n    path:\n    \
                   - \"en/last.jsonl\"\n- config_name: de\n  data_files: 'de/*.jsonl'";
    let dir = folder(&["en/part-1.jsonl", "en/part-2.jsonl", "en/last.jsonl", "de/a.jsonl"], several);
    assert_eq!(files_of(&dir, "train", "en").unwrap(), ["en/part-1.jsonl", "en/part-2.jsonl"]);
    assert_eq!(files_of(&dir, "test", "en").unwrap(), ["en/last.jsonl"]);
    assert_eq!(files_of(&dir, "train", "de").unwrap(), ["de/a.jsonl"]);
    let said = files_of(&dir, "train", "").unwrap_err();
    assert!(said.contains("has the configurations \"en\", \"de\"; name one with `config = \"en\"`"), "{said}");
    assert!(files_of(&dir, "train", "fr").unwrap_err().contains("has no configuration \"fr\", but \"en\", \"de\""));
    assert!(files_of(&dir, "test", "de").unwrap_err().contains("has no split \"test\", but \"train\""));

    let one =
        "configs:\n  - config_name: default\n    default: true\n    data_files: [\"b.jsonl\"]\n  - config_name: other";
    let dir = folder(&["a.jsonl", "b.jsonl"], one);
    assert_eq!(files_of(&dir, "train", "").unwrap(), ["b.jsonl"], "the usual configuration");
    assert_eq!(card::configurations("no front matter"), []);
    assert_eq!(card::configurations("---\nconfigs_of: 1\n---\n"), []);
}

#[test]
fn what_cannot_be_read_is_told() {
    let dir = folder(&["train.jsonl", "train.txt"], "");
    assert!(files_of(&dir, "train", "").unwrap_err().contains("mixes formats (\"train.jsonl\", \"train.txt\")"));
    assert!(files_of(&folder(&["a.csv"], ""), "train", "").unwrap_err().contains("was everything downloaded?"));
    assert!(files_of(&folder(&["a.jsonl"], ""), "train", "x").unwrap_err().contains("names no configuration \"x\""));
    let saved = folder(&["dataset_dict.json", "train/state.json", "train/data-00000-of-00001.arrow"], "");
    let said = files_of(&saved, "train", "").unwrap_err();
    assert!(said.contains("save_to_disk") && said.contains("[\"train\"].to_parquet"), "{said}");
    let nowhere = Wanted { path: Path::new("owner/name"), split: "train", config: "" };
    let said = nowhere.files().unwrap_err().to_string();
    assert!(said.contains("is no directory") && said.contains("hf download --repo-type dataset owner/name"), "{said}");
}
