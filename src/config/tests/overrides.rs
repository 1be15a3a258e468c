//! The command line on top of a file, and what is said of the outcome.

use super::*;

fn port(text: &str) -> Result<PortOverride, ConfigError> {
    text.parse()
}

#[test]
fn a_port_is_written_with_or_without_its_transport() {
    let expected = |name: &str, transport, port| Ok(PortOverride { name: name.into(), transport, port });
    assert_eq!(port("echo=0"), expected("echo", None, 0));
    assert_eq!(port("echo/tcp=65535"), expected("echo", Some(Transport::Tcp), 65535));
    assert_eq!(port("에코/udp=1"), expected("에코", Some(Transport::Udp), 1));
    for text in ["echo", "=1", "/tcp=1", "echo/sctp=1", "echo/tcp/udp=1", ""] {
        assert!(port(text).unwrap_err().sentence().contains("is not NAME=PORT"), "{text}");
    }
    for text in ["echo=", "echo=65536", "echo=-1", "echo=http"] {
        assert!(port(text).unwrap_err().sentence().contains("is not a port"), "{text}");
    }
}

#[test]
fn ports_on_the_command_line_win() {
    let ports = ["echo=7", "chat/udp=9", "multicast=10"].map(|text| port(text).unwrap()).into();
    let config = built_in(Overrides { ports, ..Overrides::default() }).unwrap();
    let addresses = |name: &str| {
        let service = config.services.iter().find(|service| service.name == name).unwrap();
        [service.plan.tcp, udp(service)].map(|address| address.map(|address| address.to_string()))
    };
    assert_eq!(addresses("echo"), [Some("127.0.0.1:7".into()), Some("127.0.0.1:7".into())]);
    assert_eq!(addresses("chat"), [Some("127.0.0.1:9999".into()), Some("127.0.0.1:9".into())]);
    assert_eq!(addresses("multicast"), [None, Some("224.0.0.255:10".into())]);

    let refused = |text: &str| {
        let ports = vec![port(text).unwrap()];
        built_in(Overrides { ports, ..Overrides::default() }).unwrap_err().to_string()
    };
    assert_eq!(refused("hello/tcp=1"), "--port hello/tcp=1: hello does not speak tcp");
    assert_eq!(refused("ehco=1"), "there is no service \"ehco\"; did you mean echo?");
    assert!(refused("lab=1").starts_with("there is no service \"lab\"; there are echo, upper, time"));
    assert_eq!(
        refused("chat/tcp=3333"),
        "chat and echo both want tcp 127.0.0.1:3333; give one of them another port"
    );
}

#[test]
fn a_port_is_set_only_once() {
    let text = "[services.echo]\ntcp = 1\n[services.chat]\ntcp = 2\nudp = 2";
    let set = |ports: &[&str]| {
        let ports = ports.iter().map(|text| port(text).unwrap()).collect();
        parse_with(text, &Overrides { ports, ..Overrides::default() })
    };
    for (ports, sentence) in [
        (
            ["chat=5", "chat=5"],
            "--port chat=5 and --port chat=5 both set the TCP port of chat; leave one out",
        ),
        (
            ["chat/tcp=5", "chat=6"],
            "--port chat/tcp=5 and --port chat=6 both set the TCP port of chat; leave one out",
        ),
        (
            ["chat=6", "chat/udp=5"],
            "--port chat=6 and --port chat/udp=5 both set the UDP port of chat; leave one out",
        ),
        (
            ["echo/udp=5", "echo/udp=6"],
            "--port echo/udp=5 and --port echo/udp=6 both set the UDP port of echo; leave one out",
        ),
    ] {
        // One sentence, even if both ports are set twice.
        assert_eq!(set(&ports).unwrap_err().to_string(), sentence);
    }
    // A name alone means the ports of the file, wherever it stands on the command line.
    for ports in [["echo=5", "echo/udp=6"], ["echo/udp=6", "echo=5"], ["chat/tcp=5", "chat/udp=5"]] {
        set(&ports).unwrap();
    }
}

#[test]
fn a_mistake_in_the_file_is_not_blamed_on_the_command_line() {
    let overrides =
        Overrides { only: vec!["room".into()], ports: vec![port("room=5").unwrap()], ..Overrides::default() };
    let errors = parse_with("[services.room]\nkind = 'caht'\ntcp = 1", &overrides).unwrap_err();
    assert_eq!(errors.iter().count(), 1, "{errors}");
}

#[test]
fn a_port_on_the_command_line_can_end_a_conflict_in_the_file() {
    let text = "[services.echo]\ntcp = 1\n[services.chat]\ntcp = 1";
    let ports = vec![port("chat=2").unwrap()];
    let overrides = Overrides { ports, ..Overrides::default() };
    assert!(parse_with(text, &overrides).is_ok());
}

#[test]
fn only_the_named_services_are_kept_in_their_order() {
    let only = |names: &[&str]| Overrides {
        only: names.iter().map(|name| (*name).into()).collect(),
        ..Overrides::default()
    };
    let names = |config: Config| config.services.into_iter().map(|service| service.name).collect::<Vec<_>>();
    assert_eq!(names(built_in(only(&["chat", "echo"])).unwrap()), ["echo", "chat"]);
    assert_eq!(names(built_in(only(&[])).unwrap()).len(), CATALOG.len());
    let error = built_in(only(&["echo", "ehco"])).unwrap_err().to_string();
    assert_eq!(error, "there is no service \"ehco\"; did you mean echo?");
}

#[test]
fn a_port_for_a_service_that_is_not_served_is_an_error() {
    let overrides = |text: &str| Overrides {
        only: vec!["echo".into()],
        ports: vec![port(text).unwrap()],
        ..Overrides::default()
    };
    for text in ["upper=5", "upper/udp=5"] {
        let error = built_in(overrides(text)).unwrap_err().to_string();
        let expected = format!("--port {text}: upper is not served; --only leaves it out");
        assert_eq!(error, expected);
    }
    assert!(built_in(overrides("echo=5")).is_ok());
    let error = built_in(overrides("nonsense=5")).unwrap_err().to_string();
    assert!(error.starts_with("there is no service \"nonsense\""), "{error}");
}

#[test]
fn a_link_local_address_is_nothing_to_bind_to() {
    let overrides = Overrides { bind: Some("fe80::1".parse().unwrap()), ..Overrides::default() };
    let error = built_in(overrides).unwrap_err().to_string();
    assert!(error.starts_with("--bind: fe80::1 is link-local"), "{error}");
}

#[test]
fn a_bind_address_on_the_command_line_moves_who_did_not_name_their_own() {
    let text = "
        bind = '127.0.0.1'
        [services.echo]
        tcp = 1
        [services.chat]
        tcp = 2
        bind = '127.0.0.2'
        [services.beacon]
        udp = 3
        [services.multicast]
        udp = 4
    ";
    let overrides = Overrides { bind: Some("0.0.0.0".parse().unwrap()), ..Overrides::default() };
    let config = parse_with(text, &overrides).unwrap();
    let address = |index: usize| {
        let service: &ServiceConfig = &config.services[index];
        service.plan.tcp.or(udp(service)).unwrap().to_string()
    };
    assert_eq!(address(0), "0.0.0.0:1");
    assert_eq!(address(1), "127.0.0.2:2");
    assert_eq!(address(2), "255.255.255.255:3");
    assert_eq!(address(3), "224.0.0.255:4");
    assert_eq!(interface(&config.services[3]), None, "the system chooses");

    let group = built_in(Overrides { bind: Some("224.0.0.1".parse().unwrap()), ..Overrides::default() });
    assert!(group.unwrap_err().to_string().starts_with("--bind: 224.0.0.1 stands for many hosts"));
}

#[test]
fn a_description_lists_every_socket() {
    let text = "[services.echo]\ntcp = 0\nudp = 7\n[services.discovery]\nudp = 8\n[services.b]\nkind = 'beacon'\nudp = 9";
    let expected = "\
SERVICE    KIND       TRANSPORT  ADDRESS
echo       echo       tcp        127.0.0.1:0 (a free port)
echo       echo       udp        127.0.0.1:7
discovery  discovery  udp        127.0.0.1:8
discovery  discovery  udp        127.255.255.255:8
b          beacon     udp        to 127.255.255.255:9

Only programs on this machine can reach these services.
";
    assert_eq!(describe(&parse(text).unwrap(), &[]), expected);
}

#[test]
fn a_description_says_what_other_machines_can_reach() {
    let text = "
        bind = '0.0.0.0'
        [services.echo]
        tcp = 1
        [services.chat]
        tcp = 2
        bind = '192.0.2.1'
        [services.time]
        tcp = 3
        bind = '127.0.0.1'
        [services.upper]
        udp = 4
        [services.beacon]
        udp = 5
        [services.near]
        kind = 'beacon'
        bind = '192.0.2.1'
        udp = 7
        [services.multicast]
        udp = 6
        interface = '127.0.0.1'
    ";
    let sentences = [
        "beacon broadcasts to each network of this machine (192.0.2.255).",
        "near sends to 255.255.255.255, off this machine.",
        "Reachable on every network of this machine (0.0.0.0), by anybody and without a password: echo, upper.",
        "Reachable from every machine that has a route to 192.0.2.1, by anybody and without a password: chat.",
    ];
    assert_eq!(told(&parse(text).unwrap()), sentences);
}

#[test]
fn what_other_machines_can_store_is_told() {
    let text = "
        bind = '192.0.2.1'
        [services.file]
        tcp = 1
        root = '/srv/강의'
        [services.upload]
        tcp = 2
        root = '/srv/강의'
        [services.tftp]
        udp = 3
        root = '/srv/boot'
        [services.here]
        kind = 'upload'
        bind = '127.0.0.1'
        tcp = 4
        root = '/srv/here'
    ";
    let all = told(&parse(text).unwrap());
    let reachable = "Reachable from every machine that has a route to 192.0.2.1, by anybody and without a password: file, upload, tftp.";
    let shared =
        "file, upload store files of anybody who reaches them in /srv/강의, unless writable = false.";
    assert_eq!(all, [reachable, shared]);
    let writable = text.replace("root = '/srv/boot'", "root = '/srv/boot'\nwritable = true");
    let tftp = "tftp stores files of anybody who reaches it in /srv/boot, unless writable = false.";
    assert_eq!(told(&parse(&writable).unwrap()), [reachable, tftp, shared]);
    let read_only = text.replace("root = '/srv/강의'", "root = '/srv/강의'\nwritable = false");
    assert_eq!(told(&parse(&read_only).unwrap()), [reachable]);
}

#[test]
fn a_beacon_is_described_by_the_addresses_that_it_sends_to() {
    let config = parse("[services.beacon]\nudp = 5\nbind = '0.0.0.0'").unwrap();
    let (one, other) = ([192, 0, 2, 255].into(), [198, 51, 100, 255].into());
    let described = describe(&config, &[one, other]);
    assert!(described.contains("udp        to 192.0.2.255:5, 198.51.100.255:5\n"), "{described}");
    let unlisted = describe(&config, &[]);
    assert!(unlisted.contains("udp        to 255.255.255.255:5\n"), "{unlisted}");
    assert!(unlisted.ends_with("beacon broadcasts to each network of this machine.\n"), "{unlisted}");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(at in 0..example(CATALOG).chars().count(), cut in 0..40usize, put: String) {
        let before: String = example(CATALOG).chars().take(at).collect();
        let after: String = example(CATALOG).chars().skip(at + cut).collect();
        if let Err(error) = parse(&format!("{before}{put}{after}")) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
