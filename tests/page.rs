//! The report as a reader's browser shows it: headless Chromium on wide and narrow screens, in light and in dark.
//!
//! `CHROMIUM` names the program, otherwise `chromium` is looked for; without one the test says so and passes.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::cli::{corpus, example, text, with_tokenizer};

/// What the page does in a frame of `width` pixels, said by the frame's owner: how far it reaches, how many pictures have a
/// size, and the page's ground.
fn looked_at(chromium: &str, report: &Path, width: usize, dark: bool) -> (usize, usize, String) {
    let dir = report.parent().unwrap();
    let owner = dir.join("owner.html");
    let script = "const page = frame.contentDocument, pictures = [...page.querySelectorAll('svg')];\
        const drawn = pictures.filter(it => it.getBoundingClientRect().width > 100).length;\
        const ground = frame.contentWindow.getComputedStyle(page.body).backgroundColor;\
        document.body.innerText = ['seen', page.documentElement.scrollWidth, drawn, ground].join('|');";
    let text = format!(
        "<body><iframe id=\"frame\" src=\"report.html\" style=\"width:{width}px;height:900px;border:0\" onload=\"{script}\">\
         </iframe></body>"
    );
    fs::write(&owner, text).unwrap();
    let scheme = if dark { 0 } else { 1 };
    let output = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--dump-dom"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--allow-file-access-from-files", &format!("--blink-settings=preferredColorScheme={scheme}")])
        .arg(format!("--user-data-dir={}", dir.join("browser").display()))
        .arg(format!("file://{}", owner.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    let seen = dom.split("seen|").nth(1).unwrap_or_else(|| panic!("the page did not load: {dom}"));
    let parts: Vec<&str> = seen.split(['|', '<']).collect();
    (parts[0].parse().unwrap(), parts[1].parse().unwrap(), parts[2].to_owned())
}

#[test]
fn a_report_fits_every_screen_in_light_and_dark() {
    let chromium = std::env::var("CHROMIUM").unwrap_or_else(|_| "chromium".to_owned());
    if Command::new(&chromium).arg("--version").output().is_err() {
        eprintln!("\n!! SKIPPED: no `{chromium}` on this machine; the report was not looked at in a browser\n");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let trained = example("tiny_llama")
        .args(["train", "--model", &text(&with_tokenizer(dir.path())), "--data", &corpus(dir.path())])
        .args(["--out", &text(&out)])
        .output()
        .unwrap();
    assert!(trained.status.success(), "{}", String::from_utf8_lossy(&trained.stderr));
    let report = out.join("report.html");
    let grounds = [(390, false), (390, true), (1200, false), (1200, true)].map(|(width, dark)| {
        let (reach, drawn, ground) = looked_at(&chromium, &report, width, dark);
        assert!(reach <= width, "the page reaches {reach} of {width} pixels");
        assert_eq!(drawn, 6, "layers, loss, gradient norm, learning rate, speed and loss by position are drawn");
        ground
    });
    assert_eq!(grounds[0], "rgb(255, 255, 255)");
    assert_eq!(grounds[1], grounds[3]);
    assert_ne!(grounds[0], grounds[1], "dark is dark");
}
