//! The command `data`, and what `--data` takes.

mod common;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use common::cli::{example, text, with_tokenizer};
use common::fixture;
use serde_json::{Value, json};

fn run(arguments: &[&str], input: &[u8]) -> Output {
    let mut program = example("tiny_llama");
    let piped = program.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    // A program that fails first does not read it.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// What a successful command says on stdout and on stderr.
fn ok(arguments: &[&str], input: &[u8]) -> [String; 2] {
    let output = run(arguments, input);
    let [out, said] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success(), "{arguments:?}: {said}");
    [out, said]
}

fn fails(arguments: &[&str], input: &[u8]) -> String {
    let output = run(arguments, input);
    assert!(!output.status.success(), "{arguments:?} should fail");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains("panicked"), "{said}");
    said
}

fn lines(documents: &[&str]) -> String {
    documents.iter().map(|text| format!("{}\n", json!({ "text": text, "id": 1 }))).collect()
}

/// A program that keeps its tokens in `dir`.
fn data(dir: &Path, more: &[&str], input: &[u8]) -> Value {
    let out = text(&dir.join("run"));
    let all = [&["data", "--json", "--out", &out], more].concat();
    serde_json::from_str(&ok(&all, input)[0]).unwrap()
}

#[test]
fn counts_lengths_and_samples_are_those_of_training() {
    let dir = tempfile::tempdir().unwrap();
    let model = text(&with_tokenizer(dir.path()));
    let documents = ["a".repeat(10), "b".repeat(100), String::new(), "c".repeat(40)];
    let file = dir.path().join("corpus.jsonl");
    fs::write(&file, lines(&documents.each_ref().map(String::as_str))).unwrap();
    let prose = dir.path().join("prose.txt");
    fs::write(&prose, "d".repeat(300)).unwrap();
    let (file, prose) = (text(&file), text(&prose));
    let found = data(dir.path(), &["--model", &model, "--data", &file, "--data", &prose], b"");
    let stage = &found["stages"][0];
    assert_eq!((&stage["stage"], &stage["sequences"], &stage["length"]), (&json!("extend"), &json!(120), &json!(64)));
    let source = &stage["sources"][0];
    let files = &source["files"];
    assert_eq!(
        [&files["files"], &files["documents"], &files["empty"], &files["tokens"], &files["characters"]],
        [&json!(1), &json!(3), &json!(1), &json!(150), &json!(150)]
    );
    // Two more for each: begin and end.
    assert_eq!(files["histogram"], json!([[8, 1, 12], [16, 0, 0], [32, 1, 42], [64, 1, 102]]));
    assert_eq!([&source["share"], &source["drawn"], &source["longer"]], [&json!(0.5), &json!(0.5), &json!(1)]);
    assert_eq!(source["epochs"], json!(60.0 * 64.0 / 156.0));

    let samples = found["samples"].as_array().unwrap();
    assert_eq!(samples.len(), 5);
    for sample in samples {
        assert_eq!(sample["tokens"], 64);
        let documents = sample["documents"].as_array().unwrap();
        let rows: u64 = documents.iter().map(|rows| rows[1].as_u64().unwrap() + 1 - rows[0].as_u64().unwrap()).sum();
        assert_eq!(rows, 64);
        assert_eq!(sample["learned"].as_u64().unwrap(), 64 - documents.len() as u64);
    }
    let of = |source: &str| samples.iter().filter(|sample| sample["source"].as_str().unwrap().contains(source)).count();
    assert_eq!((of("corpus.jsonl"), of("prose.txt")), (3, 2), "sources in turn");
    assert!(samples[1]["begins"].as_str().unwrap().bytes().all(|byte| byte == b'd'));

    let [out, _] = ok(&["data", "--model", &model, "--data", &file, "--out", &text(&dir.path().join("run"))], b"");
    for words in ["characters/token", "documents by length", "8 ▁ ▄█ 128", "sample 5", "positions  0–", "documents  "]
    {
        assert!(out.contains(words), "{words}: {out}");
    }
}

#[test]
fn every_format_is_known_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let content = lines(&["one", "two", "three"]);
    let mut gzip = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    gzip.write_all(content.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let folder = dir.path().join("set");
    fs::create_dir(&folder).unwrap();
    fs::write(dir.path().join("a.jsonl"), &content).unwrap();
    fs::write(folder.join("train-00000-of-00001.jsonl.gz"), &gzip).unwrap();
    let tokens = |name: &str, input: &[u8]| {
        let run = tempfile::tempdir().unwrap();
        let found = data(run.path(), &["--data", name], input);
        let source = &found["stages"][0]["sources"][0];
        let word = source["source"].as_str().unwrap().split('(').next().unwrap().to_owned();
        (word, source["files"]["documents"].as_u64().unwrap(), source["files"]["tokens"].as_u64().unwrap())
    };
    let (word, documents, count) = tokens(&text(&dir.path().join("a.jsonl")), b"");
    assert_eq!((&word[..], documents), ("jsonl", 3));
    assert_eq!(tokens(&text(&folder.join("*.jsonl.gz")), b""), ("jsonl".to_owned(), 3, count));
    assert_eq!(tokens(&text(&folder), b""), ("dataset".to_owned(), 3, count));
    assert_eq!(tokens("-", content.as_bytes()), ("jsonl".to_owned(), 3, count));
    assert_eq!(tokens("-", &gzip), ("jsonl".to_owned(), 3, count));
    assert_eq!(tokens("-", b"one two").0, "text");
    if cfg!(feature = "parquet") {
        let (word, documents, _) = tokens(&text(&fixture("parquet/zstd.parquet")), b"");
        assert_eq!((&word[..], documents), ("parquet", 7));
    }
}

#[test]
fn what_is_wrong_with_text_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str, content: &[u8]| {
        fs::write(dir.path().join(name), content).unwrap();
        text(&dir.path().join(name))
    };
    let out = text(&dir.path().join("run"));
    let says = |name: &str| fails(&["data", "--out", &out, "--data", name], b"");
    assert!(says("nowhere/*.jsonl").contains("no file matches it; it is relative to /"));
    assert!(says(&at("empty.txt", b"")).contains("its files hold no text"));
    assert!(
        says(&at("field.jsonl", b"{\"body\": \"a\", \"id\": 1}"))
            .contains("no field `text`; the line has `body`, `id`")
    );
    assert!(says(&at("latin.txt", b"caf\xe9")).contains("not UTF-8 at byte 3"));
    assert!(says(&at("lies.gz", b"{}")).contains("its name says gzip"));
    assert!(fails(&["data"], b"").contains("has no `data`; add `--data"));
    assert!(fails(&["data", "--out", &out, "--data", "-"], b"").contains("standard input: it is empty"));
    let model = text(&fixture("tiny_hf"));
    let said = fails(&["data", "--out", &out, "--model", &model, "--data", &at("a.txt", b"a")], b"");
    assert!(said.contains("there is no tokenizer here"), "{said}");
    let other = tempfile::tempdir().unwrap();
    let other = with_tokenizer(other.path());
    let tokenizer = fs::read_to_string(other.join("tokenizer.json")).unwrap();
    fs::write(
        other.join("tokenizer.json"),
        tokenizer.replace("\"<unk>\":95", "\"<unk>\":95,\"x1\":96,\"x2\":97,\"x3\":98"),
    )
    .unwrap();
    let said = fails(&["data", "--out", &out, "--model", &text(&other), "--data", &at("a.txt", b"a")], b"");
    assert!(said.contains("tokenizer has 99 tokens") && said.contains("another model's"), "{said}");
}

/// A run that read standard input and was killed goes on without it, bit for bit.
#[test]
fn standard_input_is_read_once_in_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let model = text(&with_tokenizer(dir.path()));
    let input =
        lines(&["the quick brown fox jumps over the lazy dog", "pack my box with five dozen liquor jugs"]).repeat(40);
    let file = dir.path().join("same.jsonl");
    fs::write(&file, &input).unwrap();
    let out = |name: &str| text(&dir.path().join(name));
    let (piped, named) = (out("piped"), out("named"));
    let train = |out: &str, data: &str| {
        ["train", "--model", &model, "--out", out, "--data", data, "--no-eval", "--save-every", "5"].map(str::to_owned)
    };
    let [begun, whole] = [train(&piped, "-"), train(&named, &text(&file))];
    let [begun, whole] = [&begun, &whole].map(|words| words.each_ref().map(String::as_str));
    let losses = |out: &str| -> Vec<String> {
        let log = fs::read_to_string(Path::new(out).join("metrics.jsonl")).unwrap_or_default();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.map(|line| format!("{} {}", line["step"], line["loss"])).collect()
    };

    let said = killed_after(12, &begun, input.as_bytes(), || losses(&piped).len());
    assert!(said.contains("standard input is JSON lines") && said.contains("stdin.jsonl"), "{said}");
    let [_, said] = ok(&begun, b"something else");
    assert!(said.contains("what is piped in now is not read"), "{said}");
    assert!(said.contains("resuming after step"), "{said}");
    ok(&whole, b"");
    assert_eq!(losses(&named).len(), 40);
    assert_eq!(losses(&piped), losses(&named));
}

/// What a run said that was killed after some steps.
fn killed_after(steps: usize, arguments: &[&str], input: &[u8], done: impl Fn() -> usize) -> String {
    let mut program = example("tiny_llama");
    let piped = program.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let started = Instant::now();
    while done() < steps && started.elapsed() < Duration::from_secs(60) {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be killed");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success() && done() < 40, "the run ended before it could be killed");
    String::from_utf8(output.stderr).unwrap()
}
