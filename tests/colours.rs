//! Colours are for terminals: nothing that is piped has any, and `NO_COLOR` turns them off.
#![cfg(unix)]

mod common;

use std::process::Command;

use common::cli::{corpus, example, text, with_tokenizer};

/// Colours and other looks of letters, `ESC [ … m`; how the cursor moves is none of them.
fn looks(said: &str) -> usize {
    let ends =
        |rest: &str| rest.find(|letter: char| letter.is_ascii_alphabetic()).and_then(|at| rest[at..].chars().next());
    said.split("\x1b[").skip(1).filter(|rest| ends(rest) == Some('m')).count()
}

/// What a command of the tiny Llama says on a terminal, which `script` plays.
fn on_a_terminal(arguments: &str, no_color: bool) -> String {
    let program = example("tiny_llama").get_program().to_string_lossy().into_owned();
    let mut command = Command::new("script");
    command.args(["-qec", &format!("'{program}' {arguments}"), "/dev/null"]);
    command.env("TERM", "xterm-256color").env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
    if no_color {
        command.env("NO_COLOR", "1");
    }
    let output = command.output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn commands(dir: &std::path::Path, out: &str) -> [String; 3] {
    let (model, data, out) = (text(&with_tokenizer(dir)), corpus(dir), text(&dir.join(out)));
    [
        "--help".to_owned(),
        "check --model /nowhere --nonsense".to_owned(),
        format!("train --model {model} --data {data} --out {out} --steps 3,1 --no-eval"),
    ]
}

#[test]
fn a_pipe_gets_no_colours() {
    let dir = tempfile::tempdir().unwrap();
    for command in commands(dir.path(), "piped") {
        let output = example("tiny_llama").args(command.split(' ')).env_remove("NO_COLOR").output().unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        assert!(!said.contains('\x1b'), "{command}: {said:?}");
        assert!(!said.is_empty(), "{command}");
    }
}

#[test]
fn no_color_turns_them_off_on_a_terminal() {
    if Command::new("script").arg("--version").output().is_err() {
        eprintln!("\n!! SKIPPED: no `script` on this machine plays a terminal; NO_COLOR was not tried\n");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for command in commands(dir.path(), "coloured") {
        let said = on_a_terminal(&command, false);
        assert!(looks(&said) > 0, "{command}: a terminal gets colours: {said:?}");
    }
    for command in commands(dir.path(), "plain") {
        let said = on_a_terminal(&command, true);
        assert_eq!(looks(&said), 0, "{command}: {said:?}");
        assert!(!said.is_empty(), "{command}");
    }
}

#[test]
fn looks_are_told_from_moves() {
    assert_eq!(looks("\x1b[2K\x1b[1A a \x1b[36mb\x1b[0m \x1b[?25h"), 2);
}
