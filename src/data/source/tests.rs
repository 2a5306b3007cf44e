use super::*;

fn written(bytes: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    file
}

/// Documents, each as its pieces.
fn read(bytes: &[u8], format: &Format, cut: bool) -> Result<Vec<Vec<String>>, Error> {
    let file = written(bytes);
    let (mut documents, mut pieces) = (Vec::new(), Vec::new());
    let at = Cell::new(0);
    let reader = Reader { path: file.path(), format, cut, at: &at };
    let seen = reader.read(&mut |piece| {
        match piece {
            Piece::Text(text) => pieces.push(text.to_owned()),
            Piece::Chat(messages, line) => pieces.push(format!("{line}: {} messages", messages.len())),
            Piece::End => documents.push(std::mem::take(&mut pieces)),
        }
        Ok(())
    })?;
    assert_eq!(seen, digest(file.path()).unwrap());
    Ok(documents)
}

fn jsonl() -> Format {
    Format::Jsonl { field: "text".to_owned() }
}

#[test]
fn a_text_file_is_one_document() {
    assert_eq!(read("\u{feff}zwölf\r\n".as_bytes(), &Format::Text, true).unwrap(), [["zwölf\r\n"]]);
    assert_eq!(read(b"", &Format::Text, true).unwrap(), [Vec::<String>::new()]);
}

#[test]
fn a_long_text_is_cut_behind_words_only() {
    let line = "Königin Änne trägt 47 Äpfel.\n   \n";
    let text = line.repeat(3 * CHUNK / line.len());
    let pieces = read(text.as_bytes(), &Format::Text, true).unwrap().remove(0);
    assert!(pieces.len() > 2);
    assert!(
        pieces[1..]
            .iter()
            .all(|piece| piece.starts_with(" Änne") || piece.starts_with(" trägt") || piece.starts_with(" 47"))
    );
    assert_eq!(pieces.concat(), text);
    assert_eq!(read(text.as_bytes(), &Format::Text, false).unwrap(), [[text.clone()]]);
    let json = format!("{}\n", serde_json::json!({ "text": text }));
    let pieces = read(json.as_bytes(), &jsonl(), true).unwrap().remove(0);
    assert!(pieces.len() > 2 && pieces[1..].iter().all(|piece| piece.starts_with(' ')));
    assert_eq!(pieces.concat(), text);
    let unbroken = "ä".repeat(CHUNK);
    assert_eq!(read(unbroken.as_bytes(), &Format::Text, true).unwrap(), [[unbroken]]);
}

#[test]
fn each_line_of_jsonl_is_a_document() {
    let documents =
        read(b"{\"text\":\"one\\ntwo\",\"id\":1}\n\n{\"text\":\"\"}\r\n{\"text\":\"last\"}", &jsonl(), true).unwrap();
    assert_eq!(documents, [vec!["one\ntwo"], vec![], vec!["last"]]);
}

#[test]
fn bad_files_are_named_with_their_place() {
    let says = |bytes: &[u8], format: &Format| read(bytes, format, true).unwrap_err().to_string();
    assert!(says(b"good \xff bad", &Format::Text).contains("not UTF-8 at byte 5"));
    let far = [b"abc\n".repeat(CHUNK), b"\xc3".to_vec()].concat();
    assert!(says(&far, &Format::Text).contains(&format!("not UTF-8 at byte {}", 4 * CHUNK)));
    assert!(says(b"{\"text\":\"a\"}\n{\"text\":\"\xff\"}", &jsonl()).contains("not UTF-8 at byte 22"));
    let good = b"{\"text\":\"a\"}\n".as_slice();
    for (line, reason) in [
        ("{\"text\": \"a\"", ":2: EOF while parsing"),
        ("{\"body\": 1, \"id\": 2}", ":2: no field `text`; the line has `body`, `id`"),
        ("{}", ":2: no field `text`; the line has nothing"),
        ("{\"text\": 7}", ":2: `text` is a number, expected text"),
        ("{\"text\": [{}]}", ":2: `text` is a list, expected text; conversations are read with chat("),
        ("[1]", ":2: a line is an object like {\"text\": \"…\"}, got a list"),
    ] {
        let said = says(&[good, line.as_bytes()].concat(), &jsonl());
        assert!(said.contains(reason), "{said}");
    }
    let reader = Reader { path: Path::new("/nowhere/a.txt"), format: &Format::Text, cut: true, at: &Cell::new(0) };
    let said = reader.read(&mut |_| Ok(())).unwrap_err().to_string();
    assert!(said.starts_with("/nowhere/a.txt: could not be read:"), "{said}");
}

#[test]
fn globs_are_sorted_and_explain_themselves() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["b.txt", "a.txt", "c.md"] {
        std::fs::write(dir.path().join(name), "x").unwrap();
    }
    std::fs::create_dir(dir.path().join("d.txt")).unwrap();
    let glob = |pattern: &str| files(&dir.path().join(pattern).display().to_string());
    let names: Vec<_> = glob("*.txt").unwrap().iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["a.txt", "b.txt"]);
    assert!(glob("*.json").unwrap_err().to_string().contains("no file matches it; it is relative to /"));
    assert!(glob("***").unwrap_err().to_string().contains("wildcards"), "{}", glob("***").unwrap_err());
}

#[test]
fn a_list_of_objects_is_no_jsonl() {
    let said = read(b"[\n {\"text\": \"a\"}\n]", &jsonl(), true).unwrap_err().to_string();
    assert!(said.contains(":1: a list begins here") && said.contains("jq -c"), "{said}");
}

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parquet").join(name)
}

fn parquet(name: &str, format: &Format) -> Result<Vec<Vec<String>>, Error> {
    let (path, at) = (fixture(name), Cell::new(0));
    let (mut documents, mut pieces) = (Vec::new(), Vec::new());
    let reader = Reader { path: &path, format, cut: true, at: &at };
    reader.read(&mut |piece| {
        match piece {
            Piece::Text(text) => pieces.push(text.to_owned()),
            Piece::Chat(messages, row) => pieces.push(format!("{row}: {}", Value::from(messages))),
            Piece::End => documents.push(std::mem::take(&mut pieces)),
        }
        Ok(())
    })?;
    assert_eq!(at.get(), path.metadata().unwrap().len());
    Ok(documents)
}

fn column(field: &str) -> Format {
    Format::Parquet { field: field.to_owned() }
}

#[cfg(not(feature = "parquet"))]
#[test]
fn without_the_feature_parquet_names_it() {
    let said = parquet("snappy.parquet", &column("text")).unwrap_err().to_string();
    assert!(said.contains("--features parquet") && said.contains("features = [\"parquet\"]"), "{said}");
}

#[cfg(feature = "parquet")]
mod with_parquet {
    use super::*;

    #[test]
    fn each_row_is_a_document() {
        let mut expected = vec![vec!["the first document"], vec![], vec!["zwölf Bäume\nin two lines"]];
        expected.extend(vec![vec!["again"]; 5]);
        for codec in ["none", "snappy", "gzip", "zstd"] {
            assert_eq!(parquet(&format!("{codec}.parquet"), &column("text")).unwrap(), expected, "{codec}");
        }
        assert_eq!(parquet("large.parquet", &column("body")).unwrap(), expected);
        assert_eq!(parquet("large.parquet", &Format::Dataset { field: "body".to_owned() }).unwrap(), expected);
    }

    #[test]
    fn conversations_are_lists_of_structures() {
        let format = Format::Chat { field: "messages".to_owned() };
        let turns = "1: [{\"role\":\"user\",\"content\":\"ask\"},{\"role\":\"assistant\",\"content\":\"answer\"}]";
        assert_eq!(parquet("chat.parquet", &format).unwrap(), [[turns]]);
    }

    #[test]
    fn wrong_columns_are_named() {
        let says = |name: &str, field: &str| parquet(name, &column(field)).unwrap_err().to_string();
        assert!(says("snappy.parquet", "body").contains("no field `body`; the file has `id`, `text`"));
        assert!(says("snappy.parquet", "id").contains(":1: `id` is a number, expected text"));
        assert!(says("null.parquet", "text").contains(":2: `text` is null, expected text"));
        assert!(says("chat.parquet", "messages").contains("read with chat"));
    }

    #[test]
    fn damage_is_an_error_or_other_text_but_never_a_panic() {
        for name in ["snappy.parquet", "zstd.parquet", "large.parquet", "chat.parquet"] {
            let whole = std::fs::read(fixture(name)).unwrap();
            let read = |bytes: &[u8]| {
                let file = written(bytes);
                let format = column(if name == "large.parquet" { "body" } else { "text" });
                let reader = Reader { path: file.path(), format: &format, cut: true, at: &Cell::new(0) };
                reader.read(&mut |_| Ok(())).map_err(|error| error.to_string())
            };
            for end in (0..whole.len()).step_by(7) {
                let said = read(&whole[..end]).unwrap_err();
                assert!(said.contains("fetch it again"), "{name}, {end}: {said}");
            }
            for place in (0..whole.len()).step_by(5) {
                let mut damaged = whole.clone();
                damaged[place] ^= 0x41;
                let _ = read(&damaged);
            }
        }
    }
}
