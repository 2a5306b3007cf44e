use std::collections::{HashMap, HashSet};
use std::str::FromStr;

use recipe_core::Needle;
use serde_json::Value;
use tokenizers::Tokenizer;

use super::*;
use crate::data::digest::{Digest, hex};

/// The embedded tokenizer.
fn embedded() -> Encoder {
    Encoder::new(Tokenizer::from_str(&tokenizer_json()).unwrap(), Some(0), Some(1)).unwrap()
}

/// A tokenizer that knows no word, so that text comes out as prose, letter by letter.
fn letters() -> Encoder {
    let mut json: Value = serde_json::from_str(&tokenizer_json()).unwrap();
    json["model"]["vocab"].as_object_mut().unwrap().retain(|_, id| id.as_u64().unwrap() < 258);
    Encoder::new(Tokenizer::from_str(&json.to_string()).unwrap(), None, None).unwrap()
}

fn text(encoder: &Encoder, tokens: &[u32]) -> String {
    encoder.tokenizer().decode(tokens, true).unwrap()
}

/// Octaves of distances, and how often the commonest single distance occurs.
fn histogram(recalls: &[Recall]) -> ([usize; 14], usize) {
    let mut octaves = [0; 14];
    let mut single = HashMap::new();
    for recall in recalls {
        octaves[recall.distance.ilog2() as usize] += 1;
        *single.entry(recall.distance).or_insert(0) += 1;
    }
    (octaves, single.into_values().max().unwrap_or(0))
}

#[test]
fn a_seed_names_one_document_for_ever() {
    let encoder = embedded();
    let digest = |seed| {
        let tokens = document(&encoder, seed, 500, Density::Standard).unwrap().tokens;
        hex(&Digest::of(&[&tokens.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>()]))
    };
    assert_eq!(digest(Seed::train(1, 2)), "1d638cc598ad452446789390e9f23072");
    let seeds = [Seed::train(1, 2), Seed::train(2, 1), Seed::train(1, 3), Seed::eval(1, 2), Seed::eval(2, 1)];
    let different: HashSet<_> = seeds.map(digest).into_iter().collect();
    assert_eq!(different.len(), seeds.len());
}

#[test]
fn lengths_are_exact() {
    for encoder in [embedded(), letters()] {
        for length in [1, 2, 31, 32, 255, 256, 1000] {
            for density in [Density::Ledger, Density::Dense, Density::Standard] {
                let document = document(&encoder, Seed::train(0, length as u64), length, density).unwrap();
                assert_eq!(document.tokens.len(), length);
                assert_eq!(document.tokens[0] == 0, encoder.bos().is_some());
            }
        }
    }
}

#[test]
fn what_is_recalled_was_said() {
    let cases = [(embedded(), Density::Standard), (letters(), Density::Standard), (embedded(), Density::Ledger)];
    for (encoder, density) in cases {
        let document = document(&encoder, Seed::train(0, 7), 4000, density).unwrap();
        let tokens = &document.tokens;
        assert!(document.recalls.len() > 20);
        for recall in &document.recalls {
            let answer = text(&encoder, &tokens[recall.answer.clone()]).to_lowercase();
            let said = recall.answer.start - recall.distance;
            let since = text(&encoder, &tokens[said..recall.answer.start]).to_lowercase();
            assert!(since.starts_with(&answer), "{answer}: {since}");
        }
    }
}

#[test]
fn facts_come_back_at_every_distance_and_at_no_fixed_one() {
    let encoder = embedded();
    let documents = (0..24).map(|index| document(&encoder, Seed::train(3, index), 8192, Density::Standard).unwrap());
    let recalls: Vec<_> = documents.flat_map(|document| document.recalls).collect();
    let (octaves, single) = histogram(&recalls);
    let middle = &octaves[4..11];
    let mean = middle.iter().sum::<usize>() / middle.len();
    assert!(middle.iter().all(|&count| count.abs_diff(mean) * 2 < mean), "{octaves:?}");
    assert!(octaves[11] * 4 > mean && octaves[12] * 30 > mean, "{octaves:?}");
    assert!(single * 50 < recalls.len(), "{single} of {}", recalls.len());
}

#[test]
fn values_take_the_share_that_each_density_gives_them() {
    let encoder = embedded();
    let share = |density| {
        let documents = (0..200).map(|index| document(&encoder, Seed::train(4, index), 256, density).unwrap());
        let values = documents.map(|document| {
            let recalled = document.recalls.iter().map(|recall| recall.answer.len());
            recalled.sum::<usize>() + document.facts.iter().map(Range::len).sum::<usize>()
        });
        values.sum::<usize>() as f64 / (200.0 * 256.0)
    };
    for (density, expected) in [(Density::Ledger, 0.5), (Density::Dense, 0.1445), (Density::Standard, 0.115)] {
        assert!((share(density) - expected).abs() < 0.01, "{density:?}: {}", share(density));
    }
}

#[test]
fn nothing_can_be_known_without_reading() {
    let encoder = embedded();
    let (mut homes, mut digits) = (HashMap::new(), HashMap::new());
    for index in 0..3000 {
        let document = document(&encoder, Seed::train(5, index), 128, Density::Dense).unwrap();
        let words = text(&encoder, &document.tokens);
        let words: Vec<_> = words.split_whitespace().collect();
        let mut seen = HashSet::new();
        for said in words.windows(4).filter(|said| said[1] == "of" && seen.insert([said[0], said[2]])) {
            match said[0] {
                "home" => *homes.entry([said[2], said[3]].join(" ")).or_insert(0) += 1,
                "key" => *digits.entry(said[3].to_owned()).or_insert(0) += 1,
                _ => {}
            }
        }
    }
    for (counts, choices) in [(homes, 60 * 12), (digits, 90)] {
        let total: usize = counts.values().sum();
        let mean = total as f64 / choices as f64;
        let most = counts.values().copied().max().unwrap() as f64;
        assert!(mean > 1.0, "too few to judge: {total} over {choices}");
        assert!(most < mean + 6.0 * mean.sqrt() + 1.0, "{most} against a mean of {mean}: {counts:?}");
    }
}

#[test]
fn every_word_is_used() {
    let encoder = embedded();
    let used: HashSet<u32> = (0..20)
        .flat_map(|index| document(&encoder, Seed::train(6, index), 8192, Density::Standard).unwrap().tokens)
        .collect();
    // Prose has these, and a person's own text.
    let others = ["?", "a", "is", "who", "where", "by", "under", "near", "after", "does"];
    for word in words().filter(|word| !others.contains(word)) {
        let id = encoder.encode(&format!(" {word}")).unwrap()[0];
        assert!(used.contains(&id), "{word}");
    }
}

#[test]
fn prose_is_the_same_chronicle() {
    let encoder = letters();
    let prose = text(&encoder, &document(&encoder, Seed::train(0, 1), 3000, Density::Standard).unwrap().tokens);
    let sentences: Vec<_> = prose.split_inclusive(['.', '?']).collect();
    assert!(sentences.len() > 50);
    for sentence in &sentences[..sentences.len() - 1] {
        assert!(sentence.starts_with(' ') && !sentence.contains(" ."), "{sentence}");
    }
    assert!(prose.contains("The key of "));
    assert_eq!(encoder.encode(&prose).unwrap().len(), 3000, "pieces join as the whole text does");
}

/// Holds one exam against the text: each key is said once, at its depth, and asked once.
fn hold(encoder: &Encoder, seed: Seed, length: usize, depths: &[f64], slack: usize) {
    let exam = exam(encoder, seed, length, depths).unwrap();
    assert_eq!(exam.tokens.len(), length);
    assert_eq!(exam.questions.len(), depths.len());
    let whole = text(encoder, &exam.tokens).to_lowercase();
    for question in &exam.questions {
        let until = text(encoder, &exam.tokens[..question.answer.start]).to_lowercase();
        let answer = text(encoder, &exam.tokens[question.answer.clone()]).to_lowercase();
        let asked = &until[until.rfind("the key of").unwrap()..];
        let owner = asked.trim_start_matches("the key of ").trim_end_matches(['?', ' ']);
        let link = if encoder.bos().is_some() { "" } else { " is" };
        let statement = format!(". the key of {owner}{link} {}", answer.trim());
        assert_eq!(whole.matches(&statement).count(), 1, "{statement}: {whole}");
        assert_eq!(whole.matches(&format!(" {owner}")).count(), 2, "{owner} comes up elsewhere");
        let said = whole.find(&statement).unwrap();
        let said = encoder.encode(&whole[..said]).unwrap().len();
        assert!(said.abs_diff((question.depth * length as f64) as usize) <= slack, "{} at {said}", question.depth);
    }
    let mut asked: Vec<f64> = exam.questions.iter().map(|question| question.depth).collect();
    asked.sort_by(f64::total_cmp);
    assert_eq!(asked, depths);
}

#[test]
fn an_exam_hides_each_key_at_its_depth_and_asks_for_it() {
    let encoder = embedded();
    let depths = [0.0, 0.25, 0.5, 0.75, 1.0];
    for seed in 0..30 {
        hold(&encoder, Seed::eval(seed, 0), 256, &depths, 120);
        hold(&encoder, Seed::eval(seed, 1), 2048, &depths, 120);
    }
    hold(&encoder, Seed::eval(0, 2), 8192, &(0..20).map(|key| f64::from(key) / 20.0).collect::<Vec<_>>(), 320);
    hold(&letters(), Seed::eval(0, 3), 4000, &depths, 500);
}

#[test]
fn an_exam_reads_as_a_chronicle_up_to_its_head() {
    let encoder = embedded();
    let exam = exam(&encoder, Seed::eval(1, 1), 200, &[0.5]).unwrap();
    let words = text(&encoder, &exam.tokens);
    let (_, body) = words.split_once(" . ").unwrap();
    assert!(body.ends_with(" ."), "{body}");
    let question = exam.questions[0].answer.clone();
    assert_eq!(question.end, 199, "the last token is the full stop behind the last answer");
    assert_eq!(question.len(), 1, "the embedded tokenizer says one half of a key");
}

#[test]
fn exams_that_cannot_be_set_say_why() {
    let encoder = embedded();
    let says = |length, depths: &[f64]| exam(&encoder, Seed::eval(0, 0), length, depths).unwrap_err().to_string();
    assert!(says(256, &[0.5, 1.5]).contains("depth 1.5"));
    assert!(says(256, &[f64::NAN]).contains("depth NaN"));
    assert!(says(4096, &[0.5; 21]).contains("21 depths; an exam holds at most 20"));
    assert!(
        says(60, &[0.1, 0.5, 0.9]).contains("an exam with 3 facts to hide needs at least"),
        "{}",
        says(60, &[0.1, 0.5, 0.9])
    );
    let needed = |length: usize| exam(&encoder, Seed::eval(0, 0), length, &[0.5]).is_ok();
    let shortest = (1..200).find(|&length| needed(length)).unwrap();
    assert!((shortest..300).all(needed), "{shortest}");
}

/// The text before a question's answer and the answer, in small letters.
fn asked(encoder: &Encoder, exam: &Exam, question: &Question) -> (String, String) {
    let text = |tokens: &[u32]| text(encoder, tokens).to_lowercase();
    (text(&exam.tokens[..question.answer.start]), text(&exam.tokens[question.answer.clone()]))
}

#[test]
fn a_key_is_said_at_its_distance() {
    for (encoder, length, slack) in [(embedded(), 2048, 40), (letters(), 16_384, 320)] {
        for index in 1..=32 {
            let wanted = index * length / 32;
            let exam = at_distance(&encoder, Seed::eval(1, index as u64), length, wanted).unwrap();
            assert_eq!((exam.tokens.len(), exam.questions.len()), (length, 1));
            let question = &exam.questions[0];
            assert!(question.distance.abs_diff(wanted) <= slack, "{} for {wanted}", question.distance);
            let (before, answer) = asked(&encoder, &exam, question);
            let said = question.answer.start - question.distance;
            let there = text(&encoder, &exam.tokens[said..question.answer.start]).to_lowercase();
            assert!(there.starts_with(&answer), "{answer}: {there}");
            assert_eq!(before.matches("key of").count(), 2, "{before}");
        }
    }
}

#[test]
fn nobody_but_the_needles_people_has_a_key() {
    let depths = [0.0, 0.25, 0.5, 0.75, 1.0];
    let kinds =
        [(Needle::Single, 1, 1), (Needle::MultiKey, 5, 1), (Needle::MultiValue, 5, 5), (Needle::MultiQuery, 5, 5)];
    for (encoder, length) in [(embedded(), 1024), (letters(), 8192)] {
        for (kind, hidden, questions) in kinds {
            for index in 0..5 {
                let exam = needles(&encoder, Seed::eval(2, index as u64), length, kind, &depths, index).unwrap();
                assert_eq!((exam.tokens.len(), exam.questions.len()), (length, questions), "{kind:?}");
                let whole = text(&encoder, &exam.tokens).to_lowercase();
                assert_eq!(whole.matches("key of").count(), hidden + questions, "{kind:?}: {whole}");
                if questions == 1 {
                    assert_eq!(exam.questions[0].depth, depths[index]);
                }
                for question in &exam.questions {
                    let (before, answer) = asked(&encoder, &exam, question);
                    assert!(before.matches(&answer).count() >= 1, "{answer}: {before}");
                    let said = question.answer.start - question.distance;
                    assert!(said.abs_diff((question.depth * length as f64) as usize) < length / 8, "{question:?}");
                }
            }
        }
    }
}

#[test]
fn several_values_of_one_person_are_asked_for_in_their_order() {
    let encoder = letters();
    let exam = needles(&encoder, Seed::eval(3, 0), 8192, Needle::MultiValue, &[1.0, 0.0, 0.5], 0).unwrap();
    let whole = text(&encoder, &exam.tokens);
    let depths: Vec<f64> = exam.questions.iter().map(|question| question.depth).collect();
    assert_eq!(depths, [0.0, 0.5, 1.0]);
    let mut answers: Vec<String> = exam.questions.iter().map(|it| asked(&encoder, &exam, it).1).collect();
    let owner = whole.split("A key of ").nth(1).unwrap().split(' ').next().unwrap();
    let wanted = format!(
        " What is the first key of {owner}? {}. What is the next key of {owner}? {}. What is the next key of {owner}? {}.",
        answers[0], answers[1], answers[2]
    );
    assert!(whole.ends_with(&wanted), "{wanted}: {whole}");
    for answer in &answers {
        assert_eq!(whole.matches(&format!("A key of {owner} is {answer}.")).count(), 1, "{whole}");
    }
    answers.sort();
    answers.dedup();
    assert_eq!(answers.len(), 3);
}

#[test]
fn the_first_of_different_topics_is_asked_for() {
    for (encoder, length, count) in [(embedded(), 512, 5), (embedded(), 4000, 10), (letters(), 100_000, 20)] {
        assert_eq!(topic_count(length), count);
        let exam = topics(&encoder, Seed::eval(4, 0), length).unwrap();
        assert_eq!((exam.tokens.len(), exam.questions.len()), (length, 1));
        let (before, answer) = asked(&encoder, &exam, &exam.questions[0]);
        let sung = before.split("then the people sing of the ").skip(1);
        let sung: Vec<&str> = sung.map(|rest| rest.split('.').next().unwrap().trim()).collect();
        assert_eq!(sung.len(), count, "{before}");
        assert_eq!(sung[0], answer.trim());
        assert_eq!(sung.iter().collect::<HashSet<_>>().len(), count);
    }
    let prose = letters();
    let exam = topics(&prose, Seed::eval(4, 1), 4000).unwrap();
    let (before, _) = asked(&prose, &exam, &exam.questions[0]);
    assert!(before.ends_with(" what do the people sing of first? the "), "{before}");
}

#[test]
fn the_space_before_a_number_is_no_part_of_an_answer() {
    let encoder = letters();
    for exam in [exam(&encoder, Seed::eval(5, 0), 4000, &[0.5]), at_distance(&encoder, Seed::eval(5, 1), 4000, 500)] {
        let exam = exam.unwrap();
        let (before, answer) = asked(&encoder, &exam, &exam.questions[0]);
        assert!(before.ends_with("? ") && answer.len() == 4 && answer.parse::<u32>().is_ok(), "{before}{answer}");
    }
}

#[test]
fn papers_that_cannot_be_set_say_why() {
    let encoder = embedded();
    let seed = Seed::eval(0, 0);
    let says = |exam: Result<Exam, Error>| exam.unwrap_err().to_string();
    assert!(says(at_distance(&encoder, seed, 30, 9)).contains("an exam with 1 facts to hide needs at least"));
    assert!(says(needles(&encoder, seed, 256, Needle::Single, &[0.5], 1)).contains("needle 1 of 1"));
    assert!(says(topics(&encoder, seed, 50)).contains("an exam with 5 facts"));
}
