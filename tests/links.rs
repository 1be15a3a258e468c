//! Every link of the documents leads somewhere: to a file of this repository, and
//! to a heading in it.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn documents() -> Vec<PathBuf> {
    let folders = [root().to_owned(), root().join("docs")];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let files = entries.map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|end| end == "md")).collect()
}

/// The lines outside of fenced code, with their numbers.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut is_code = false;
    let numbered = (1..).zip(text.lines());
    numbered
        .filter(|(_, line)| {
            let is_fence = line.trim_start().starts_with("```");
            is_code ^= is_fence;
            !is_code && !is_fence
        })
        .collect()
}

/// The targets of the links on a line.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
}

/// The anchors that GitHub gives to the headings of a document.
fn anchors(text: &str) -> Vec<String> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let headings = prose(text).into_iter().filter_map(|(_, line)| {
        let title = line.trim_start_matches('#');
        (title.len() < line.len() && title.starts_with(' ')).then(|| anchor(title.trim()))
    });
    headings
        .map(|anchor| {
            let earlier = seen.entry(anchor.clone()).or_default();
            *earlier += 1;
            if *earlier > 1 { format!("{anchor}-{}", *earlier - 1) } else { anchor }
        })
        .collect()
}

fn anchor(title: &str) -> String {
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).flat_map(char::to_lowercase).collect()
}

/// What is wrong with a link of `document`, if anything.
fn flaw(document: &Path, target: &str) -> Option<String> {
    if target.starts_with("https://") {
        return None;
    }
    let (path, wanted) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let file = if path.is_empty() { document.to_owned() } else { document.parent().unwrap().join(path) };
    if !file.exists() {
        return Some(format!("there is no {path}"));
    }
    let wanted = wanted?;
    let text = fs::read_to_string(&file).unwrap();
    (!anchors(&text).iter().any(|anchor| anchor == wanted)).then(|| format!("no heading gives #{wanted}"))
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let mut links = 0;
    let mut broken = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for (number, line) in prose(&text) {
            for target in targets(line) {
                links += 1;
                if let Some(why) = flaw(&document, target) {
                    broken.push(format!("{}:{number}: {target}: {why}", document.display()));
                }
            }
        }
    }
    assert!(links > 50, "only {links} links were found");
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn a_broken_link_is_noticed() {
    let readme = root().join("README.md");
    for broken in ["src/nothing.rs", "PROTOCOL.md#nothing", "#nothing"] {
        assert!(flaw(&readme, broken).is_some(), "{broken}");
    }
    for sound in ["src/lib.rs", "#the-services", "docs/stress.md#exit-status", "CONTRIBUTING.md#layout"] {
        assert_eq!(flaw(&readme, sound), None, "{sound}");
    }
    assert_eq!(anchors("# 하나, 둘\n## `a` b\n```\n# no\n```\n## `a` b"), ["하나-둘", "a-b", "a-b-1"]);
}

/// The text of every source file of a folder.
fn sources(folder: &Path) -> String {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let text = paths.map(|path| match path.extension() {
        _ if path.is_dir() => sources(&path),
        Some(end) if end == "rs" => fs::read_to_string(&path).unwrap(),
        _ => String::new(),
    });
    text.collect()
}

/// Names of tests on a page are in backticks, and longer than any other name there.
#[test]
fn every_test_that_the_page_about_resources_names_is_there() {
    const SHORTEST: usize = 25;
    let page = fs::read_to_string(root().join("docs/resources.md")).unwrap();
    let sources = sources(&root().join("src")) + &sources(&root().join("tests"));
    let is_name =
        |name: &&str| name.len() >= SHORTEST && !name.contains(|c: char| !c.is_alphanumeric() && c != '_');
    let names: Vec<&str> = page.split('`').skip(1).step_by(2).filter(is_name).collect();
    assert!(names.len() > 30, "{names:?}");
    let is_there =
        |name: &&&str| sources.contains(&format!("fn {name}(")) || sources.contains(&format!("\"{name}\""));
    let missing: Vec<_> = names.iter().filter(|name| !is_there(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
