//! Dependencies run one way. A layer that imports one above it fails here, with the line.

use std::fs;
use std::path::{Path, PathBuf};

/// Each folder of `src`, and what nothing in it may import.
const FORBIDDEN: [(&str, &[&str]); 10] = [
    (
        "src/service",
        &[
            "reactor",
            "services",
            "config",
            "wire",
            "system",
            "hosting",
            "rehearsal",
            "simulation",
            "selectors",
        ],
    ),
    (
        "src/system",
        &["reactor", "services", "config", "wire", "hosting", "rehearsal", "simulation", "selectors"],
    ),
    (
        "src/wire",
        &["reactor", "services", "config", "service", "system", "hosting", "rehearsal", "selectors", "media"],
    ),
    ("src/reactor", &["services", "config", "wire", "hosting", "rehearsal", "simulation", "selectors"]),
    ("src/services", &["reactor", "system", "hosting", "rehearsal", "simulation", "selectors"]),
    (
        "src/media",
        &[
            "reactor",
            "services",
            "config",
            "service",
            "system",
            "hosting",
            "rehearsal",
            "simulation",
            "selectors",
        ],
    ),
    (
        "src/config",
        &["reactor", "services", "wire", "system", "hosting", "rehearsal", "simulation", "selectors"],
    ),
    (
        "src/disk",
        &[
            "reactor",
            "service",
            "services",
            "config",
            "files",
            "wire",
            "system",
            "hosting",
            "rehearsal",
            "simulation",
            "selectors",
        ],
    ),
    (
        "src/files",
        &[
            "reactor",
            "service",
            "services",
            "config",
            "system",
            "hosting",
            "rehearsal",
            "simulation",
            "selectors",
        ],
    ),
    ("src/selectors", &["reactor", "services", "config", "hosting", "rehearsal", "simulation"]),
];

#[test]
fn no_layer_imports_one_above_it() {
    let mut offences = Vec::new();
    for (folder, forbidden) in FORBIDDEN {
        let files = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
        assert!(!files.is_empty(), "{folder} holds no source");
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            for (line, module) in imports(&text, forbidden) {
                offences.push(format!("{}:{line} imports {module}", file.display()));
            }
        }
    }
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn a_forbidden_import_is_found_in_every_form_and_only_outside_of_tests() {
    let text = "\
//! Compare crate::reactor::Reactor.
#[cfg(test)]
mod tests;
#[cfg(test)]
use crate::config::{
    Config,
};
use crate::reactor::Reactor;
use crate::{service, reactor};
use crate::{
    service::{Context, reactor_like},
    hosting::host,
};

#[cfg(test)]
fn planned() -> Plan {
    crate::config::plan()
}

fn run() {
    crate::hosting::host();
}

#[cfg(test)]
mod inline {
    use crate::hosting;
}
use super::reactor;
";
    let found = imports(text, &["reactor", "hosting", "config"]);
    let expected = [(8, "reactor"), (9, "reactor"), (12, "hosting"), (21, "hosting"), (28, "reactor")];
    assert_eq!(found, expected);
}

/// The lines of a source, outside of its tests, that name one of the forbidden modules.
fn imports<'f>(text: &str, forbidden: &[&'f str]) -> Vec<(usize, &'f str)> {
    let code = without_tests(text);
    let mut found = Vec::new();
    for root in ["crate::", "super::"] {
        for (at, _) in code.match_indices(root) {
            let start = at + root.len();
            for (offset, name) in first_names(&code[start..]) {
                if let Some(module) = forbidden.iter().find(|module| **module == name) {
                    found.push((code[..start + offset].matches('\n').count() + 1, *module));
                }
            }
        }
    }
    found.sort_unstable();
    found
}

/// The modules that a path names right behind its root: one, or several in braces. With
/// where each of them stands.
fn first_names(path: &str) -> Vec<(usize, &str)> {
    let name_at = |at: usize| {
        let rest = &path[at..];
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        (at, &rest[..end])
    };
    if !path.starts_with('{') {
        return vec![name_at(0)];
    }
    let (mut depth, mut begins, mut names) = (0, false, Vec::new());
    for (at, c) in path.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        match c {
            '{' | ',' => begins = depth == 1,
            c if c.is_whitespace() => {}
            '}' if depth == 0 => break,
            _ if std::mem::take(&mut begins) => names.push(name_at(at)),
            _ => {}
        }
    }
    names
}

/// The source with empty lines in place of comments and of items under `#[cfg(test)]`,
/// which may reach for a stage or a service to play with. An item ends at the first line
/// that is indented as its attribute is and ends with `;` or `}`.
fn without_tests(text: &str) -> String {
    let mut item: Option<&str> = None;
    let mut code = String::new();
    for line in text.lines() {
        let unindented = line.trim_start();
        let indent = &line[..line.len() - unindented.len()];
        if let Some(of_item) = item {
            if indent == of_item && line.ends_with([';', '}']) {
                item = None;
            }
        } else if unindented == "#[cfg(test)]" {
            item = Some(indent);
        } else if !unindented.starts_with("//") {
            code += line;
        }
        code.push('\n');
    }
    code
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_test = path.file_name().is_some_and(|name| name == "tests" || name == "tests.rs");
        if is_test {
            continue;
        }
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
    files
}
