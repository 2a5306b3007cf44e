use super::*;

fn inventory(lengths: &[u64]) -> Inventory {
    let held = Held {
        files: 2,
        empty: 1,
        characters: 400,
        tokens: 100,
        epoch: lengths.iter().sum(),
        selected: None,
        lengths: lengths.to_vec(),
    };
    Inventory { origin: "text(\"a\")".to_owned(), share: 0.9, held: Some(held) }
}

#[test]
fn lengths_are_bars_between_powers_of_two() {
    let text = lengths_table(&[inventory(&[3, 4, 5, 6, 7, 20])]).to_text();
    let row: Vec<&str> = text.lines().nth(2).unwrap().split_whitespace().collect();
    assert_eq!(row[1..7], ["3", "3", "5", "20", "20", "20"], "{text}");
    // One document of 2 to 3 tokens, four of 4 to 7, none of 8 to 15, one of 16 to 31.
    assert!(text.contains("2 ▂█ ▂ 32"), "{text}");
    assert!(text.contains("2 ▂█ █ 32"), "{text}");
}

#[test]
fn sources_without_an_end_have_no_counts() {
    let generated = Inventory { origin: "passkey".to_owned(), share: 0.1, held: None };
    let using = Use { sequences: 9, drawn: 0.9, epochs: 1.5, longer: 3, cut: 4.4, documents: 2.5 };
    let alone = Use { sequences: 1, drawn: 0.1, epochs: 0.0, longer: 0, cut: 0.0, documents: 1.0 };
    let both = [inventory(&[3]), generated];
    assert!(inventory_table(&both).to_text().contains("passkey    generated"));
    assert_eq!(lengths_table(&both).to_text().lines().count(), 3);
    let text = uses_table(&both, &[using, alone], 4096).to_text();
    let words = |line: usize| text.lines().nth(line).unwrap().split_whitespace().collect::<Vec<_>>();
    assert!(text.contains("in a sequence of 4K"), "{text}");
    assert_eq!(words(3), ["text(\"a\")", "90.0%", "90.0%", "9", "1.5", "2.5", "3", "≈", "4"]);
    assert_eq!(words(4), ["passkey", "10.0%", "10.0%", "1", "–", "1", "0", "0"]);
}

#[test]
fn long_words_keep_their_end() {
    assert_eq!(short("passkey"), "passkey");
    assert_eq!(short("jsonl(\"a/*.jsonl\", field = \"text\")"), "jsonl(\"a/*.jsonl\", …)");
    let long = short("parquet(\"/a/long/way/to/the/corpus/of/1999/*.parquet\", field = \"body\")");
    assert_eq!(long, "parquet(\"…/corpus/of/1999/*.parquet\", …)");
    assert_eq!(long.chars().count(), WORDS);
}

#[test]
fn a_sample_shows_jumps_and_borders_apart() {
    let mut batch = Batch::sequence((0..10).collect(), &[0, 6]).unwrap();
    batch.positions = vec![0, 1, 2, 90, 91, 92, 0, 1, 2, 3];
    batch.stretch = Some(4);
    assert_eq!(runs(&batch.positions), [(0, 2), (90, 92), (0, 3)]);
    assert_eq!(documents(&batch), [0..6, 6..10]);
    let sample = Sample { title: "sample 1", batch: &batch, text: ["<s>a\n", "b</s>"] };
    let said = sample_text(&sample);
    for line in [
        "sample 1",
        "  tokens     10, 8 of them learned",
        "  positions  0–2, 90–92, 0–3",
        "  documents  2: rows 0–5, 6–9",
        "  scale      the model's own rope, divided by 4",
        "  begins     \"<s>a\\n\"",
        "  ends       \"b</s>\"",
    ] {
        assert!(said.lines().any(|said| said == line), "{line}: {said}");
    }
    let many = Batch::sequence((0..9).collect(), &[0, 1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    let said = sample_text(&Sample { title: "", batch: &many, text: ["", ""] });
    assert!(said.contains("9: rows 0–0, 1–1, 2–2, 3–3, 4–4, 5–5 and 3 more documents"), "{said}");
    assert_eq!(shortened(vec![(0, 1); 7], "runs").matches("0–1").count(), 7);
}
