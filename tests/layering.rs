//! Dependencies run one way. A layer that imports one above it fails here, with the line.

use std::fs;
use std::path::Path;

/// Each folder of `src`, and what nothing in it may import.
const FORBIDDEN: [(&str, &[&str]); 6] = [
    ("src/service", &["reactor", "services", "config", "wire", "rehearsal", "selectors"]),
    ("src/wire", &["reactor", "services", "config", "service", "rehearsal", "selectors"]),
    ("src/reactor", &["services", "config", "rehearsal", "selectors"]),
    ("src/services", &["reactor", "rehearsal", "selectors", "hosting"]),
    ("src/config", &["reactor", "services", "wire", "rehearsal", "selectors", "hosting"]),
    ("src/selectors", &["reactor", "services", "config", "rehearsal"]),
];

#[test]
fn no_layer_imports_one_above_it() {
    let mut offences = Vec::new();
    for (folder, forbidden) in FORBIDDEN {
        let files = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
        assert!(!files.is_empty(), "{folder} holds no source");
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            // Tests may reach for a stage or a service to play with.
            let code = text.split("#[cfg(test)]").next().unwrap();
            for (number, line) in (1..).zip(code.lines()) {
                let imports = |module: &&&str| {
                    line.contains(&format!("crate::{module}::"))
                        || line.contains(&format!("crate::{module};"))
                };
                if let Some(module) = forbidden.iter().find(imports) {
                    offences.push(format!("{}:{number} imports {module}: {}", file.display(), line.trim()));
                }
            }
        }
    }
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

fn sources(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
    files
}
