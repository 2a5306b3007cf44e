//! What README.md shows is what the compiler says.

#[test]
fn the_compile_error_is_the_compilers() {
    let readme = include_str!("../README.md");
    let expected = include_str!("ui/wall/six_mistakes.expected");
    let shown =
        readme.split("<!-- error -->").nth(1).and_then(|rest| rest.split("```").nth(1)).expect("an error is shown");
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let shown = words(shown);
    // The first line of the expectation is the place in its own file.
    for line in expected.lines().skip(1).take_while(|line| !line.is_empty()) {
        let line = words(line);
        assert!(shown.windows(line.len()).any(|part| part == line), "README.md lacks {line:?}");
    }
}
