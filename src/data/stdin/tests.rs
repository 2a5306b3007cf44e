use super::*;

fn kept_as(input: &[u8]) -> (Spooled, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let mut input = input;
    let found = spool(&mut input, &dir.path().join("cache")).unwrap();
    let bytes = fs::read(&found.path).unwrap();
    assert_eq!(found.bytes, bytes.len() as u64);
    (found, bytes)
}

fn name_of(spooled: &Spooled) -> &str {
    name(&spooled.path).unwrap()
}

#[test]
fn lines_and_prose_are_told_apart() {
    for (input, expected) in [
        (&b"{\"text\": \"a\"}\n{\"text\": \"b\"}\n"[..], "stdin.jsonl"),
        (b"\n\n  {\"text\": \"a\"}", "stdin.jsonl"),
        (b"once upon a time", "stdin.txt"),
        (b"{ a brace is no object }\n", "stdin.txt"),
        (b"[1]\n", "stdin.txt"),
    ] {
        let (found, bytes) = kept_as(input);
        assert_eq!((name_of(&found), found.lines, &bytes[..]), (expected, expected.ends_with("jsonl"), input));
    }
    let long = format!("{{\"text\": \"{}\"}}\n", "a".repeat(2 << 20));
    assert_eq!(name_of(&kept_as(long.as_bytes()).0), "stdin.jsonl");
}

#[test]
fn compressed_input_is_known_by_its_bytes() {
    let text = b"{\"text\": \"a\"}\n";
    let mut gzip = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    io::Write::write_all(&mut gzip, text).unwrap();
    assert_eq!(name_of(&kept_as(&gzip.finish().unwrap()).0), "stdin.jsonl.gz");
    let zstd = ruzstd::encoding::compress_to_vec(&b"prose"[..], ruzstd::encoding::CompressionLevel::Fastest);
    assert_eq!(name_of(&kept_as(&zstd).0), "stdin.txt.zst");
}

#[test]
fn what_is_kept_is_found_again_and_an_unfinished_file_is_not() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("stdin.part"), "half").unwrap();
    assert_eq!(kept(dir.path()), None);
    let first = spool(&mut &b"text"[..], dir.path()).unwrap();
    assert_eq!(kept(dir.path()), Some(Spooled { before: true, ..first }));
    let said = spool(&mut &b""[..], dir.path()).unwrap_err().to_string();
    assert!(said.starts_with("standard input: it is empty"), "{said}");
}
