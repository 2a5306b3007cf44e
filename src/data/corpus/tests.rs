use std::cell::RefCell;
use std::fs;
use std::str::FromStr;

use recipe_core::{SourceKind, SourcePlan};
use tokenizers::Tokenizer;

use super::*;
use crate::data::{IGNORE, Rng, chronicle};

const BOS: u32 = 0;
const EOS: u32 = 1;

fn encoder(bos: Option<u32>, eos: Option<u32>) -> Arc<Encoder> {
    let tokenizer = Tokenizer::from_str(&chronicle::tokenizer_json()).unwrap();
    Arc::new(Encoder::new(tokenizer, bos, eos).unwrap())
}

/// A folder with `count` text files of 1, 2, … words, each word of file n being the number 10 + n.
struct Folder {
    dir: tempfile::TempDir,
}

impl Folder {
    fn new(count: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for file in 0..count {
            let text = format!(" {}", 10 + file).repeat(file + 1);
            fs::write(dir.path().join(format!("{file:02}.txt")), text).unwrap();
        }
        Self { dir }
    }

    fn glob(&self, pattern: &str) -> String {
        self.dir.path().join(pattern).display().to_string()
    }

    fn text(&self, share: f64) -> SourcePlan {
        SourcePlan::new(SourceKind::Text { glob: self.glob("*.txt").into() }, share)
    }

    fn open(&self, plan: &[SourcePlan], encoder: Arc<Encoder>) -> Result<Corpus, Error> {
        Corpus::open(plan, &SelectPlan::All, encoder, &self.dir.path().join("cache"), &mut |_| {})
    }
}

fn passkey(share: f64) -> SourcePlan {
    SourcePlan::new(SourceKind::Passkey, share)
}

/// The first `count` sequences as one row of tokens.
fn row(corpus: &Corpus, seed: u64, count: u64, length: usize) -> Vec<u32> {
    (0..count).flat_map(|index| corpus.sequence(seed, index, length).unwrap().tokens).collect()
}

#[test]
fn an_epoch_holds_every_document_once_with_its_specials() {
    let folder = Folder::new(12);
    for (bos, eos) in [(Some(BOS), Some(EOS)), (Some(BOS), None), (None, Some(EOS)), (None, None)] {
        let corpus = folder.open(&[folder.text(1.0)], encoder(bos, eos)).unwrap();
        let epoch = corpus.summaries()[0].tokens.unwrap() as usize;
        assert_eq!(epoch, 78 + 12 * (usize::from(bos.is_some()) + usize::from(eos.is_some())));
        for length in [1, 2, 7, epoch, epoch + 5] {
            let count = (2 * epoch).div_ceil(length) as u64;
            let tokens = row(&corpus, 5, count, length);
            let expected = |file: u32| {
                let id = corpus.encoder.encode(&format!(" {}", 10 + file)).unwrap()[0];
                let body = vec![id; file as usize + 1];
                [bos.into_iter().collect(), body, eos.into_iter().collect::<Vec<_>>()].concat()
            };
            for epoch in [&tokens[..epoch], &tokens[epoch..2 * epoch]] {
                for file in 0..12 {
                    let expected = expected(file);
                    let found = epoch.windows(expected.len()).filter(|window| *window == expected).count();
                    assert_eq!(found, 1, "file {file}, length {length}");
                }
            }
        }
    }
}

#[test]
fn the_row_does_not_depend_on_how_it_is_cut() {
    let folder = Folder::new(9);
    let corpus = folder.open(&[folder.text(1.0)], encoder(Some(BOS), Some(EOS))).unwrap();
    let whole = row(&corpus, 1, 1, 300);
    for length in [1, 10, 75] {
        assert_eq!(row(&corpus, 1, (300 / length) as u64, length), whole, "{length}");
    }
}

#[test]
fn a_sequence_can_be_reached_in_any_order() {
    let folder = Folder::new(9);
    let plan = [folder.text(0.75), passkey(0.25)];
    let encoder = encoder(Some(BOS), Some(EOS));
    let corpus = folder.open(&plan, encoder.clone()).unwrap();
    let forwards: Vec<_> = (0..40).map(|index| corpus.sequence(3, index, 32).unwrap()).collect();
    let again = folder.open(&plan, encoder).unwrap();
    for index in (0..40).rev() {
        assert_eq!(again.sequence(3, index, 32).unwrap(), forwards[index as usize], "{index}");
    }
}

#[test]
fn seeds_and_epochs_shuffle() {
    let folder = Folder::new(12);
    let corpus = folder.open(&[folder.text(1.0)], encoder(None, None)).unwrap();
    let row = |seed| row(&corpus, seed, 2, 78);
    assert_ne!(row(0), row(1));
    let both = row(0);
    assert_ne!(both[..78], both[78..]);
}

#[test]
fn documents_stay_apart() {
    let folder = Folder::new(12);
    let corpus = folder.open(&[folder.text(1.0)], encoder(Some(BOS), Some(EOS))).unwrap();
    for index in 0..20 {
        let batch = corpus.sequence(2, index, 23).unwrap();
        batch.check(chronicle::VOCAB).unwrap();
        assert_eq!(batch.len(), 23);
        for row in 0..23 {
            let last = row == 22 || batch.documents[row + 1] != batch.documents[row];
            let target = if last { IGNORE } else { batch.tokens[row + 1] as i32 };
            assert_eq!(batch.targets[row], target);
            if row > 0 {
                let begins = batch.tokens[row] == BOS;
                assert_eq!(batch.documents[row] != batch.documents[row - 1], begins);
                assert_eq!(batch.positions[row], if begins { 0 } else { batch.positions[row - 1] + 1 });
            }
        }
    }
}

#[test]
fn shares_are_kept_at_every_moment() {
    let folder = Folder::new(3);
    for shares in [vec![0.9, 0.1], vec![0.5, 0.3, 0.2], vec![0.85, 0.05, 0.05, 0.05], vec![1.0 / 3.0; 3]] {
        let plan: Vec<_> = shares.iter().map(|&share| passkey(share)).collect();
        let corpus = folder.open(&plan, encoder(None, None)).unwrap();
        for index in 0..500 {
            let counts = corpus.turns.counts(index);
            assert_eq!(counts.iter().sum::<u64>(), index);
            for (&count, share) in counts.iter().zip(&shares) {
                assert!((count as f64 - share * index as f64).abs() < 2.0, "{counts:?} after {index} of {shares:?}");
            }
            let (number, ordinal) = corpus.turns.turn(index);
            assert_eq!(ordinal, counts[number]);
            assert_eq!(corpus.turns.counts(index + 1)[number], ordinal + 1);
        }
    }
}

#[test]
fn passkey_text_is_documents_and_exams() {
    let folder = Folder::new(1);
    let corpus = folder.open(&[passkey(1.0)], encoder(Some(BOS), Some(EOS))).unwrap();
    let mut exams = 0;
    for index in 0..40 {
        let batch = corpus.sequence(0, index, 512).unwrap();
        batch.check(chronicle::VOCAB).unwrap();
        assert_eq!((batch.len(), batch.counted()), (512, 511));
        let text = corpus.encoder.tokenizer().decode(&batch.tokens[512 - 12 * Papers::USUAL.asked..], true).unwrap();
        exams += usize::from(text.matches("what is the key of").count() == Papers::USUAL.asked);
    }
    assert!((10..30).contains(&exams), "{exams}");
    assert_eq!(corpus.sequence(0, 0, 3).unwrap().len(), 3, "too short for an exam");
    assert_eq!(corpus.summaries()[0].tokens, None);
}

#[test]
fn the_cache_follows_content_field_and_tokenizer() {
    let folder = Folder::new(2);
    fs::write(folder.dir.path().join("a.jsonl"), "{\"text\": \" 10\", \"body\": \" 11 11\"}\n").unwrap();
    let jsonl = |field: &'static str| {
        SourcePlan::new(SourceKind::Jsonl { glob: folder.glob("a.jsonl").into(), field: field.into() }, 1.0)
    };
    let cache = folder.dir.path().join("cache");
    let made = |plan: SourcePlan| {
        let paths = RefCell::new(Vec::new());
        let mut report = |reading: Reading<'_>| paths.borrow_mut().push(reading.path.file_name().unwrap().to_owned());
        Corpus::open(&[plan], &SelectPlan::All, encoder(None, None), &cache, &mut report).unwrap();
        paths.into_inner()
    };
    assert_eq!(made(folder.text(1.0)), ["00.txt", "01.txt"]);
    assert!(made(folder.text(1.0)).is_empty());
    fs::rename(folder.dir.path().join("01.txt"), folder.dir.path().join("02.txt")).unwrap();
    assert!(made(folder.text(1.0)).is_empty(), "the name of a file does not matter");
    fs::write(folder.dir.path().join("02.txt"), " 33").unwrap();
    assert_eq!(made(folder.text(1.0)), ["02.txt"]);
    assert_eq!(made(jsonl("text")), ["a.jsonl"]);
    assert_eq!(made(jsonl("body")), ["a.jsonl"]);
    assert!(made(jsonl("text")).is_empty());
    let mut other: serde_json::Value = serde_json::from_str(&chronicle::tokenizer_json()).unwrap();
    other["model"]["ignore_merges"] = false.into();
    let other = Tokenizer::from_str(&other.to_string()).unwrap();
    let other = Arc::new(Encoder::new(other, None, None).unwrap());
    let corpus = Corpus::open(&[jsonl("text")], &SelectPlan::All, other, &cache, &mut |_| {}).unwrap();
    assert_eq!(corpus.summaries()[0].tokens, Some(3), "letters, since this tokenizer knows no word");
}

#[test]
fn long_files_give_the_tokens_of_their_whole_text() {
    // A token of two newlines, as real tokenizers have: whether it is taken depends on what follows.
    let json = chronicle::tokenizer_json().replace("\"Ġbrenton\"", "\"ĊĊ\"");
    let encoder = Arc::new(Encoder::new(Tokenizer::from_str(&json).unwrap(), None, None).unwrap());
    assert!(encoder.cuts_behind_words());
    let folder = Folder::new(0);
    let mut rng = Rng::new(&[1]);
    let pieces = ["mill", " ", "  ", "\n", "\n\n", "\r\n", "don't", ".", "47", "é", "\t", "the", "\u{a0}"];
    let text: String = (0..20_000).map(|_| rng.pick(&pieces)).collect();
    fs::write(folder.dir.path().join("long.txt"), &text).unwrap();
    let corpus = folder.open(&[folder.text(1.0)], encoder.clone()).unwrap();
    let tokens = encoder.encode(&text).unwrap();
    assert!(text.len() > 40_000, "long enough to be cut");
    assert_eq!(row(&corpus, 0, 1, tokens.len()), tokens);
}

#[test]
fn notes_tell_what_a_user_should_know() {
    let folder = Folder::new(12);
    let corpus = folder.open(&[folder.text(1.0)], encoder(None, None)).unwrap();
    assert_eq!(corpus.epochs(39, 4), [2.0]);
    assert!(corpus.notes(4, 10).is_empty());
    let notes = corpus.notes(16, 50);
    assert!(notes[0].contains("78 tokens and will be read 10.3 times"), "{notes:?}");
    assert!(notes[1].contains("the longest document of"), "{notes:?}");
    assert!(corpus.notes(100, 1)[0].contains("fewer than one sequence of 100"));
}

#[test]
fn long_documents_come_more_often_and_change_no_share() {
    let folder = Folder::new(12);
    let upsampled = SourcePlan { upsample: 10, times: 3, ..folder.text(0.5) };
    let corpus = folder.open(&[upsampled, folder.text(0.5)], encoder(None, None)).unwrap();
    // Files 9, 10 and 11 have 10, 11 and 12 words.
    let epoch = corpus.summaries()[0].tokens.unwrap() as usize;
    assert_eq!(epoch, 78 + 2 * 33);
    let id = |file: u32| corpus.encoder.encode(&format!(" {}", 10 + file)).unwrap()[0];
    let mut tokens = Vec::new();
    for index in 0..2 * epoch as u64 {
        let sequence = corpus.sequence(3, index, 1).unwrap();
        if corpus.turns.turn(index).0 == 0 {
            tokens.extend(sequence.tokens);
        }
    }
    let count = |file: u32| tokens.iter().filter(|&&token| token == id(file)).count();
    assert_eq!([count(0), count(8), count(9), count(11)], [1, 9, 30, 36]);
    assert_eq!(corpus.summaries()[0].origin.rsplit_once("\", ").unwrap().1, "upsample = 10, times = 3)");
    let plain = folder.open(&[folder.text(0.5), folder.text(0.5)], encoder(None, None)).unwrap();
    assert_ne!(plain.digest(), corpus.digest());
}

fn chat(folder: &Folder) -> SourcePlan {
    let glob = folder.glob("chat.jsonl").into();
    SourcePlan::new(SourceKind::Chat { glob, field: "messages".into() }, 1.0)
}

#[test]
fn only_the_assistants_turns_are_learned() {
    let folder = Folder::new(0);
    let line = |user: &str, assistant: &str| {
        let says = |role: &str, content: &str| serde_json::json!({ "role": role, "content": content });
        serde_json::json!({ "messages": [says("user", user), says("assistant", assistant)] }).to_string()
    };
    let lines = [line(" 10 10", " 11 11 11"), line(" 12", " 13 13"), String::new()];
    fs::write(folder.dir.path().join("chat.jsonl"), lines.join("\n")).unwrap();
    let template = "{% for m in messages %}{{ m['content'] }}{% endfor %}";
    let open = |template: &str| {
        let tokenizer = Tokenizer::from_str(&chronicle::tokenizer_json()).unwrap();
        // The template writes the special tokens, so none are put around a conversation.
        let encoder = Encoder::new(tokenizer, Some(BOS), Some(EOS)).unwrap().with_template(template).unwrap();
        folder.open(&[chat(&folder)], Arc::new(encoder)).unwrap()
    };
    let corpus = open(template);
    assert_eq!(corpus.summaries()[0].tokens, Some(8));
    let batch = corpus.sequence(0, 0, 8).unwrap();
    batch.check(1000).unwrap();
    let id = |number: u32| corpus.encoder.encode(&format!(" {number}")).unwrap()[0];
    for row in 0..8 {
        let next = batch.tokens.get(row + 1).filter(|_| batch.documents.get(row + 1) == Some(&batch.documents[row]));
        let expected = match next {
            Some(&token) if token == id(11) || token == id(13) => token as i32,
            _ => IGNORE,
        };
        assert_eq!(batch.targets[row], expected, "row {row}");
    }
    assert_eq!(batch.counted(), 5);
    // Another template is another text, also in the cache.
    assert_eq!(open(&format!("{{{{ ' 14' }}}}{template}")).summaries()[0].tokens, Some(10));
}

#[test]
fn conversations_that_cannot_be_read_are_told_with_their_line() {
    let folder = Folder::new(0);
    let says = |text: &str, template: Option<&str>| {
        fs::write(folder.dir.path().join("chat.jsonl"), text).unwrap();
        let tokenizer = Tokenizer::from_str(&chronicle::tokenizer_json()).unwrap();
        let plain = Encoder::new(tokenizer, None, None).unwrap();
        let encoder = match template {
            Some(template) => plain.with_template(template).unwrap(),
            None => plain,
        };
        folder.open(&[chat(&folder)], Arc::new(encoder)).err().unwrap().to_string()
    };
    let good = r#"{"messages": [{"role": "user", "content": " 10"}]}"#;
    assert!(says(good, None).contains("has no chat_template"));
    let plain = Some("{{ messages[0]['content'] }}");
    assert!(
        says(r#"{"messages": " 10"}"#, plain).contains("chat.jsonl:1: `messages` is text, expected a list of messages")
    );
    let second = format!("{good}\n{{\"messages\": [{{\"role\": \"user\"}}]}}");
    assert!(says(&second, plain).contains("chat.jsonl:2: message 1 is not like"));
    let refuses = Some("{{ raise_exception('no system prompt') }}");
    assert!(says(good, refuses).contains("chat.jsonl:1: the chat template refuses this conversation"));
}

#[test]
fn a_selection_leaves_conversations_and_generated_text_whole_and_never_nothing() {
    let folder = Folder::new(0);
    fs::write(folder.dir.path().join("a.txt"), " the old mill .").unwrap();
    let says = serde_json::json!({ "messages": [{ "role": "assistant", "content": " the old mill ." }] });
    fs::write(folder.dir.path().join("chat.jsonl"), says.to_string()).unwrap();
    let tokenizer = Tokenizer::from_str(&chronicle::tokenizer_json()).unwrap();
    let template = "{{ messages[0]['content'] if messages }}";
    let encoder = Arc::new(Encoder::new(tokenizer, None, None).unwrap().with_template(template).unwrap());
    let types = vec![recipe_core::TokenType::Num].into();
    let select = SelectPlan::Impactful { types, keep: 0.0, form: recipe_core::Form::Paper };
    let cache = folder.dir.path().join("cache");
    let open = |source| Corpus::open(&[source], &select, encoder.clone(), &cache, &mut |_| {});
    let summary = |source| open(source).unwrap().summaries().remove(0);
    assert_eq!((summary(chat(&folder)).tokens, summary(chat(&folder)).selected), (Some(4), None));
    assert_eq!(summary(passkey(1.0)).selected, None);
    let refused = open(folder.text(1.0)).err().unwrap();
    assert!(matches!(refused, Error::NothingSelected { .. }), "{refused}");
}

#[test]
fn sources_without_text_are_refused() {
    let folder = Folder::new(0);
    fs::write(folder.dir.path().join("a.txt"), "").unwrap();
    let says = |plan: &[SourcePlan]| folder.open(plan, encoder(Some(BOS), None)).err().unwrap().to_string();
    assert!(says(&[folder.text(1.0)]).contains("its files hold no text"));
    assert!(says(&[]).contains("there is no data to train on"));
    let corpus = folder.open(&[passkey(1.0)], encoder(None, None)).unwrap();
    assert!(corpus.sequence(0, 0, 0).is_err());
}

#[test]
fn a_replay_is_short_documents_at_their_own_positions() {
    let folder = Folder::new(40);
    let replay = SourcePlan { replay: 16, ..folder.text(1.0) };
    let corpus = folder.open(&[replay], encoder(Some(BOS), Some(EOS))).unwrap();
    let whole = folder.open(&[folder.text(1.0)], encoder(Some(BOS), Some(EOS))).unwrap();
    for index in 0..10 {
        let (batch, uncut) = (corpus.sequence(0, index, 64).unwrap(), whole.sequence(0, index, 64).unwrap());
        assert_eq!(batch.tokens, uncut.tokens, "a replay reads the same text");
        assert!(batch.replay && !uncut.replay);
        assert!(batch.positions.iter().all(|&position| position < 16));
        assert!(batch.positions.iter().zip(&batch.tokens).all(|(&position, &token)| token != BOS || position == 0));
        assert!(batch.documents.last() >= uncut.documents.last());
    }
    let longest = (0..10).flat_map(|index| whole.sequence(0, index, 64).unwrap().positions).max();
    assert!(longest > Some(16), "there is something to cut");
    let summary = corpus.summaries().remove(0);
    assert!(summary.origin.starts_with("replay(text("), "{}", summary.origin);
    assert_eq!(summary.longest, None);
}

#[test]
fn what_borders_cut_is_what_was_expected() {
    let folder = Folder::new(12);
    let corpus = folder.open(&[folder.text(0.75), passkey(0.25)], encoder(Some(BOS), Some(EOS))).unwrap();
    let inventory = corpus.inventory();
    let held = inventory[0].held.as_ref().unwrap();
    assert_eq!((held.files, held.empty, held.tokens, held.epoch), (12, 0, 78, 102));
    assert_eq!(held.characters, 3 * 78, "a space and two digits");
    assert_eq!(held.lengths, (3..15).collect::<Vec<u64>>());
    assert_eq!([0.0, 0.5, 0.9, 1.0].map(|share| held.percentile(share)), [3, 8, 13, 14]);
    assert_eq!(held.histogram(), (1, vec![[1, 3], [4, 22], [7, 77]]));
    assert_eq!(inventory[1].held, None);

    let (length, count) = (10, 4000);
    let [files, generated] = corpus.uses(length, count)[..] else { panic!() };
    assert_eq!((files.sequences, files.drawn, files.longer), (3000, 0.75, 4));
    assert_eq!((generated.sequences, generated.documents, generated.epochs), (1000, 1.0, 0.0));
    let (mut parts, mut whole) = (0, 0);
    for index in (0..count).filter(|&index| corpus.source_of(index) == 0) {
        let batch = corpus.sequence(1, index, length).unwrap();
        let rows = || batch.documents.chunk_by(|before, after| before == after);
        parts += rows().count();
        let mut end = 0;
        whole += rows()
            .filter(|rows| {
                end += rows.len();
                batch.tokens[end - rows.len()] == BOS && batch.tokens[end - 1] == EOS
            })
            .count();
    }
    let cut = 12.0 - whole as f64 / files.epochs;
    assert!((cut - files.cut).abs() < 0.1, "{cut} and {}", files.cut);
    let documents = parts as f64 / 3000.0;
    assert!((documents - files.documents).abs() < 0.05, "{documents} and {}", files.documents);
}

#[test]
fn formats_that_hold_the_same_are_read_alike() {
    let folder = Folder::new(0);
    let lines = "{\"text\": \" 10 11\"}\n{\"text\": \"\"}\n{\"text\": \" 12\"}\n";
    let mut gzip = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, lines.as_bytes()).unwrap();
    fs::create_dir(folder.dir.path().join("set")).unwrap();
    fs::write(folder.dir.path().join("set/train.jsonl.gz"), gzip.finish().unwrap()).unwrap();
    fs::write(folder.dir.path().join("set/test.jsonl"), "{\"text\": \" 13\"}").unwrap();
    fs::write(folder.dir.path().join("plain.jsonl"), lines).unwrap();
    fs::create_dir(folder.dir.path().join("cache")).unwrap();
    fs::write(folder.dir.path().join("cache/stdin.jsonl"), lines).unwrap();
    let jsonl = |glob: String| SourceKind::Jsonl { glob: glob.into(), field: "text".into() };
    let dataset = |split: &'static str| SourceKind::Dataset {
        path: folder.glob("set").into(),
        split: split.into(),
        config: "".into(),
        field: "text".into(),
    };
    let kinds =
        [jsonl(folder.glob("plain.jsonl")), jsonl(folder.glob("set/*.gz")), jsonl("-".to_owned()), dataset("train")];
    let rows = kinds.map(|kind| {
        let corpus = folder.open(&[SourcePlan::new(kind, 1.0)], encoder(Some(BOS), Some(EOS))).unwrap();
        let held = corpus.inventory().remove(0).held.unwrap();
        assert_eq!((held.lengths.len(), held.empty, held.tokens, held.characters), (2, 1, 3, 9));
        row(&corpus, 3, 4, 7)
    });
    assert!(rows.iter().all(|row| *row == rows[0]), "{rows:?}");
    let said = folder.open(&[SourcePlan::new(dataset("dev"), 1.0)], encoder(None, None)).err().unwrap().to_string();
    assert!(said.contains("has no split \"dev\", but \"test\", \"train\""), "{said}");
}
