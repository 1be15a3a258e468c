//! What people read about the services is what the catalog says.

use onepoll::config::Description;
use onepoll::services::CATALOG;
use onepoll::wire::files::framed::CODES;

const README: &str = include_str!("../README.md");
const PROTOCOL: &str = include_str!("../PROTOCOL.md");

/// The rows of a document's table of services, in cells.
fn rows(document: &str) -> Vec<Vec<String>> {
    let table = document.lines().skip_while(|line| !line.starts_with("| service | TCP | UDP |"));
    let rows = table.skip(2).take_while(|line| line.starts_with('|'));
    let cells =
        |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect();
    rows.map(cells).collect()
}

/// Name and ports as the documents write them.
fn start_of_row(kind: &Description) -> Vec<String> {
    let port = |port: Option<u16>| port.map_or("–".into(), |port| port.to_string());
    vec![kind.name.into(), port(kind.tcp), port(kind.udp)]
}

#[test]
fn the_readme_lists_the_catalog() {
    let rows = rows(README);
    for (row, kind) in rows.iter().zip(CATALOG) {
        assert_eq!(row[..3], start_of_row(kind));
        assert!(row[3].starts_with(kind.about), "{row:?} begins with {:?}", kind.about);
    }
    assert_eq!(rows.len(), CATALOG.len());
}

#[test]
fn the_protocol_says_how_each_service_tells_a_client_that_it_is_turned_away() {
    let table =
        PROTOCOL.lines().skip_while(|line| !line.starts_with("| service | how it sends such a sentence |"));
    let rows = table.skip(2).take_while(|line| line.starts_with('|'));
    let names: Vec<&str> =
        rows.flat_map(|row| row.split('|').nth(1).unwrap_or_default().split(',').map(str::trim)).collect();
    for kind in CATALOG.iter().filter(|kind| kind.tcp.is_some()) {
        assert!(names.contains(&kind.name), "{} is missing among {names:?}", kind.name);
    }
}

#[test]
fn the_protocol_has_the_table_of_error_codes() {
    let table = PROTOCOL.lines().skip_while(|line| !line.starts_with("| code | meaning |"));
    let rows: Vec<_> = table.skip(2).take_while(|line| line.starts_with('|')).collect();
    let codes: Vec<_> = CODES.iter().map(|(code, meaning)| format!("| `{code}` | {meaning} |")).collect();
    assert_eq!(rows, codes);
}

#[test]
fn the_protocol_lists_the_catalog_and_has_a_section_for_each_service() {
    let rows = rows(PROTOCOL);
    for (row, kind) in rows.iter().zip(CATALOG) {
        assert_eq!(row[..3], start_of_row(kind));
    }
    assert_eq!(rows.len(), CATALOG.len());
    let sections = PROTOCOL.lines().filter_map(|line| line.strip_prefix("## ")?.split_once(". "));
    let sections: Vec<_> =
        sections.filter(|(_, title)| CATALOG.iter().any(|kind| kind.name == *title)).collect();
    let titles: Vec<_> = sections.iter().map(|(_, title)| *title).collect();
    assert_eq!(titles, CATALOG.iter().map(|kind| kind.name).collect::<Vec<_>>());
    for (number, title) in sections {
        let entry = format!("\n{number}. [{title}](#{number}-{title})\n");
        assert!(PROTOCOL.contains(&entry), "the contents have {}", entry.trim());
    }
}
