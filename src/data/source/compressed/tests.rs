use std::io::Write;

use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::*;

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zstd(text: &[u8]) -> Vec<u8> {
    compress_to_vec(text, CompressionLevel::Fastest)
}

/// What a file of this name and content says; the digest is the file's and every byte is counted.
fn read(name: &str, bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let (at, mut text) = (Cell::new(0), vec![]);
    let mut file = Opened::new(&path, &at)?;
    file.text().read_to_end(&mut text).map_err(|error| broken(&path, &error))?;
    assert_eq!(file.finish()?, crate::data::source::digest(&path)?);
    assert_eq!(at.get(), bytes.len() as u64);
    Ok(text)
}

fn says(name: &str, bytes: &[u8]) -> String {
    read(name, bytes).unwrap_err().to_string()
}

/// Longer than what is read at a time, and no run of one byte.
fn long() -> Vec<u8> {
    (0..3 * CHUNK).flat_map(|number| format!("{number},").into_bytes()).collect()
}

#[test]
fn what_was_compressed_comes_back() {
    let text = long();
    assert_eq!(read("a.jsonl", &text).unwrap(), text);
    assert_eq!(read("a.jsonl.gz", &gzip(&text)).unwrap(), text);
    for name in ["a.zst", "a.txt.ZST", "a.zstd"] {
        assert_eq!(read(name, &zstd(&text)).unwrap(), text, "{name}");
    }
    assert_eq!(read("a.gz", &gzip(b"")).unwrap(), b"");
    assert_eq!(read("a.zst", &zstd(b"")).unwrap(), b"");
}

#[test]
fn files_that_were_put_together_are_read_to_the_end() {
    assert_eq!(read("a.gz", &[gzip(b"one "), gzip(b"two")].concat()).unwrap(), b"one two");
    let skipped = [b"\x51\x2a\x4d\x18\x03\0\0\0abc".to_vec(), zstd(b"one "), zstd(b"two")].concat();
    assert_eq!(read("a.zst", &skipped).unwrap(), b"one two");
}

#[test]
fn what_ends_too_early_is_never_taken_for_whole() {
    let text = long();
    for (name, whole, test) in [("a.gz", gzip(&text), "gzip -t"), ("a.zst", zstd(&text), "zstd -t")] {
        for cut in [5, whole.len() / 2, whole.len() - 1] {
            let said = says(name, &whole[..cut]);
            assert!(said.contains("damaged or end too early") && said.contains(test), "{name} {cut}: {said}");
        }
    }
}

#[test]
fn a_changed_byte_is_found() {
    let text = long();
    for (name, whole) in [("a.gz", gzip(&text)), ("a.zst", zstd(&text))] {
        for place in [whole.len() / 3, whole.len() - 2] {
            let mut damaged = whole.clone();
            damaged[place] ^= 0x55;
            let said = says(name, &damaged);
            assert!(said.contains("damaged or end too early"), "{name} {place}: {said}");
        }
    }
}

#[test]
fn names_that_lie_are_told() {
    for (name, bytes, expected) in [
        ("a.jsonl", gzip(b"x"), "its name says plain text, but its first bytes are gzip's; rename it to end in .gz"),
        ("a.txt", zstd(b"x"), "its first bytes are Zstandard's; rename it to end in .zst"),
        ("a.jsonl.gz", zstd(b"x"), "its name says gzip, but its first bytes are Zstandard's"),
        ("a.gz", b"{}".to_vec(), "its name says gzip, but its first bytes are not gzip's"),
        ("a.zst", vec![], "it is empty"),
        ("a.jsonl", b"PAR1....".to_vec(), "read it with parquet(\"…\")"),
        ("a.jsonl", b"version https://git-lfs.github.com/spec/v1\n".to_vec(), "`git lfs pull`"),
        ("a.txt.bz2", b"BZh".to_vec(), ".bz2 is not read; decompress it with `bunzip2`"),
        ("a.tar.gz", gzip(b"x"), ".tar is not read; unpack it"),
        ("a.arrow", vec![], "to_parquet"),
    ] {
        let said = says(name, &bytes);
        assert!(said.contains(expected), "{name}: {said}");
    }
}
