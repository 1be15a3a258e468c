//! Files that cannot be read, files with many mistakes, and large ones.

use super::*;

fn load(file: &Path) -> ConfigError {
    let errors = Config::load(CATALOG, file, &Overrides::default()).unwrap_err();
    errors.iter().next().unwrap().clone()
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let missing = load(Path::new("/nonexistent/lab.toml"));
    assert!(missing.to_string().starts_with("/nonexistent/lab.toml: cannot read the configuration: "));

    let file = std::env::temp_dir().join(format!("onepoll-config-{}.toml", std::process::id()));
    std::fs::write(&file, b"bind = \"127.0.0.1\"\n# \xff\n").unwrap();
    let garbled = load(&file);
    std::fs::write(&file, vec![b' '; 4 * 1024 * 1024 + 1]).unwrap();
    let large = load(&file);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(garbled.place(), Some((2, 3)), "{garbled}");
    assert!(large.sentence().starts_with("larger than 4 MiB"), "{large}");
}

#[test]
fn what_is_no_regular_file_is_not_opened() {
    let directory = std::env::temp_dir().join(format!("onepoll-fifo-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let fifo = directory.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for file in [&fifo, &directory, Path::new("/dev/zero")] {
        assert!(load(file).sentence().starts_with("not a regular file; "), "{}", file.display());
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn every_error_of_a_file_is_told_in_its_order() {
    let text = "
bnid = '127.0.0.1'
[limits]
idle_timeout = 5
send_timeout = 'soon'
[services.hello]
tcp = 20001
mesage = 'x'
[services.ehco]
tcp = 1
[services.beacon]
udp = 0
interval = 0
address = '::1'
nodelay = true
[services.chat]
tcp = 9999
udp = true
[services.room]
kind = 'chat'
tcp = 9999
";
    let errors = parse(text).unwrap_err();
    let places: Vec<_> = errors.iter().map(|error| error.place().unwrap()).collect();
    let expected =
        [(2, 1), (4, 16), (5, 16), (7, 7), (8, 1), (9, 11), (12, 7), (13, 12), (14, 11), (15, 1), (18, 7)];
    assert_eq!(places, expected, "{errors}");
    // Those that are sound are still held against each other.
    let errors = parse(&text.replace("udp = true", "")).unwrap_err();
    let last = errors.iter().last().unwrap();
    assert_eq!(last.sentence(), "room and chat both want tcp 127.0.0.1:9999; give one of them another port");
    // Of a text that is no TOML, what could be saved raises no false alarms.
    let errors = parse("a = \n[services.ehco]\nb = \n").unwrap_err();
    let places: Vec<_> = errors.iter().map(|error| error.place().unwrap()).collect();
    assert_eq!(places, [(1, 5), (3, 5)], "{errors}");
}

#[test]
fn twenty_thousand_services_take_no_time() {
    let start = std::time::Instant::now();
    let table = |number: usize, tcp: usize| {
        let [a, b] = [number / 250, number % 250 + 1];
        format!("[services.echo-{number}]\nkind = 'echo'\nbind = '127.1.{a}.{b}'\ntcp = {tcp}\n")
    };
    let text: String = (0..20_000).map(|number| table(number, 3333)).collect();
    assert_eq!(parse(&text).unwrap().services.len(), 20_000);
    let wrong: String = (0..20_000).map(|number| table(number, 70_000)).collect();
    assert_eq!(parse(&wrong).unwrap_err().to_string().lines().count(), 3 * 20_000);
    // Quadratic checks took minutes; this is ten times what two cores under load need.
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}
