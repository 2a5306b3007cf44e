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
    let reader = Reader { path: file.path(), format, cut };
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
        ("[1]", ":2: a line is an object like {\"text\": \"…\"}, got a list"),
    ] {
        let said = says(&[good, line.as_bytes()].concat(), &jsonl());
        assert!(said.contains(reason), "{said}");
    }
    let reader = Reader { path: Path::new("/nowhere/a.txt"), format: &Format::Text, cut: true };
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
