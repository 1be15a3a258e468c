use std::sync::LazyLock;

use super::*;
use proptest::prelude::*;

const MEBIBYTE: usize = 1 << 20;

/// One line of `tests/fixtures/numpy_pickles.txt`, as `numpy_pickles.py` writes it.
struct Fixture {
    name: String,
    shape: [usize; 3],
    elements: Vec<u8>,
    pickle: Vec<u8>,
}

static FIXTURES: LazyLock<Vec<Fixture>> = LazyLock::new(|| {
    let text = include_str!("../../../tests/fixtures/numpy_pickles.txt");
    let fixtures: Vec<Fixture> = text.lines().map(fixture).collect();
    assert!(fixtures.iter().any(|fixture| fixture.name.starts_with("numpy 1.26")));
    assert!(fixtures.iter().any(|fixture| fixture.name.starts_with("numpy 2.")));
    fixtures
});

fn fixture(line: &str) -> Fixture {
    let [version, name, shape, elements, pickle] = line.split('\t').collect::<Vec<_>>()[..] else {
        panic!("not five columns: {line}")
    };
    let mut dimensions = shape.split('x').map(|number| number.parse().unwrap());
    Fixture {
        name: format!("numpy {version}: {name}"),
        shape: [dimensions.next().unwrap(), dimensions.next().unwrap(), dimensions.next().unwrap_or(1)],
        elements: bytes(elements),
        pickle: bytes(pickle),
    }
}

/// Bytes in hex, with `(zeros N)` for a long run of zeros.
fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, part) in text.split(['(', ')']).enumerate() {
        if number % 2 == 1 {
            bytes.resize(bytes.len() + part["zeros ".len()..].parse::<usize>().unwrap(), 0);
        } else {
            let digit = |digit: u8| char::from(digit).to_digit(16).unwrap() as u8;
            bytes.extend(part.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])));
        }
    }
    bytes
}

fn elements_of(array: &Array) -> Vec<u8> {
    let mut elements = Vec::new();
    for row in 0..array.height {
        for column in 0..array.width {
            elements.extend((0..array.channels).map(|channel| array.element(row, column, channel)));
        }
    }
    elements
}

#[test]
fn what_numpy_writes_is_recognized() {
    for Fixture { name, shape, elements, pickle } in &*FIXTURES {
        let array = recognize(pickle, MEBIBYTE).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!([array.height, array.width, array.channels], *shape, "{name}");
        let is_moved = ["fortran", "swapped", "rotated"].iter().any(|layout| name.contains(layout));
        assert!(array.is_row_major() || is_moved, "{name}");
        assert_eq!(&elements_of(&array), elements, "{name}");
        let pixels = array.data.as_ptr_range();
        let whole = pickle.as_ptr_range();
        assert!(whole.start < pixels.start && pixels.end < whole.end, "{name}: the pixels were copied");
    }
}

#[test]
fn a_pickle_cut_anywhere_ends_early_and_one_with_more_ends_late() {
    let small = FIXTURES.iter().filter(|fixture| fixture.pickle.len() < 1000);
    for Fixture { name, pickle, .. } in small {
        for end in 1..pickle.len() {
            assert_eq!(recognize(&pickle[..end], MEBIBYTE), Err(Refusal::EndsEarly), "{name}, {end} bytes");
        }
        let longer = [&pickle[..], &[0]].concat();
        assert_eq!(recognize(&longer, MEBIBYTE), Err(Refusal::EndsLate), "{name}");
    }
}

#[test]
fn an_array_may_be_as_large_as_the_limit_and_no_larger() {
    for Fixture { name, elements, pickle, .. } in &*FIXTURES {
        let bytes = elements.len();
        assert!(recognize(pickle, bytes).is_ok(), "{name}");
        let too_large = Refusal::TooLarge { bytes: bytes as u64, limit: bytes - 1 };
        assert_eq!(recognize(pickle, bytes - 1), Err(too_large), "{name}");
    }
}

#[test]
fn what_is_written_is_recognized() {
    let bgr: Vec<u8> = (0..=255).cycle().take(300 * 2 * 3).collect();
    let mut out = b"before".to_vec();
    write(2, 300, &bgr, &mut out);
    assert_eq!(out.len(), 6 + OVERHEAD + bgr.len());
    let array = recognize(&out[6..], bgr.len()).unwrap();
    let expected = Array { data: &bgr, height: 2, width: 300, channels: 3, strides: [900, 3, 1] };
    assert_eq!(array, expected);
}

/// A protocol 4 pickle of an array whose dimensions are pushed by `dimensions` and whose
/// element type is `code`.
fn array_of(dimensions: &[u8], code: &str, data: &[u8]) -> Vec<u8> {
    let mut pickle = b"\x80\x04\x8c\x15numpy.core.multiarray\x8c\x0c_reconstruct\x93\
        \x8c\x05numpy\x8c\x07ndarray\x93K\0\x85C\x01b\x87R(K\x01"
        .to_vec();
    pickle.extend_from_slice(dimensions);
    pickle.extend_from_slice(b"\x8c\x05numpy\x8c\x05dtype\x93\x8c");
    pickle.push(code.len() as u8);
    pickle.extend_from_slice(code.as_bytes());
    pickle.extend_from_slice(b"\x89\x88\x87R(K\x03\x8c\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89C");
    pickle.push(data.len() as u8);
    pickle.extend_from_slice(data);
    pickle.extend_from_slice(b"tb.");
    pickle
}

#[test]
fn every_refusal_has_a_reason() {
    let refused = |pickle: &[u8]| recognize(pickle, 100).unwrap_err();
    assert!(recognize(&array_of(b"K\x01K\x02\x86", "u1", &[7, 8]), 100).is_ok());

    assert_eq!(refused(b""), Refusal::EndsEarly);
    assert_eq!(refused(b"\xFF\xD8\xFF"), Refusal::NotAPickle);
    assert_eq!(refused(b"\x80\x02cnumpy"), Refusal::Protocol(2));
    assert_eq!(refused(b"\x80\x06N."), Refusal::Protocol(6));
    assert_eq!(refused(&array_of(b"K\x01K\x02\x86", "f8", &[0; 16])), Refusal::ElementType("f8".into()));
    assert_eq!(refused(&array_of(b"K\x01K\x02\x86", "i1", &[7, 8])), Refusal::ElementType("i1".into()));
    assert_eq!(refused(&array_of(b"K\x02\x85", "u1", &[7, 8])), Refusal::Dimensions);
    assert_eq!(refused(&array_of(b"(K\x01K\x01K\x01K\x02t", "u1", &[7, 8])), Refusal::Dimensions);
    assert_eq!(refused(&array_of(b"K\x00K\x02\x86", "u1", &[])), Refusal::Dimensions);
    assert_eq!(refused(&array_of(b"J\xff\xff\xff\xffK\x02\x86", "u1", &[])), Refusal::Dimensions);
    let announced = Refusal::Length { announced: 3, present: 2 };
    assert_eq!(refused(&array_of(b"K\x01K\x03\x86", "u1", &[7, 8])), announced);
    let huge = b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x87";
    assert_eq!(refused(&array_of(huge, "u1", &[7])), Refusal::TooLarge { bytes: u64::MAX, limit: 100 });
    let long_text = b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc";
    assert_eq!(refused(long_text), Refusal::EndsEarly);
    // A list, a dict, an out-of-band buffer, a persistent id, a class instance.
    for opcode in *b"]}\x97Po" {
        assert_eq!(refused(&[0x80, 5, opcode]), Refusal::Instruction { opcode, at: 2 });
    }
    assert_eq!(refused(b"\x80\x04N."), Refusal::Structure { at: 3 });
    assert_eq!(refused(b"\x80\x04R."), Refusal::Structure { at: 2 });
    assert_eq!(refused(b"\x80\x04K\x01h\x07."), Refusal::Structure { at: 4 });
    let mut memoizes = b"\x80\x04N".to_vec();
    memoizes.resize(100_000, 0x94);
    assert!(matches!(refused(&memoizes), Refusal::Structure { .. }));
}

#[test]
fn axes_must_be_exchanged_and_not_invented() {
    let exchanges =
        |fixture: &&Fixture| fixture.name.starts_with("numpy 2") && fixture.name.ends_with(" swapped-fast-5");
    let fixture = FIXTURES.iter().find(exchanges).unwrap();
    let axes = b"K\x01K\0K\x02\x87";
    let place = fixture.pickle.windows(axes.len()).position(|bytes| bytes == axes).unwrap();
    for wrong in [b"K\x01K\x01K\x02\x87", b"K\x01K\0K\x03\x87", b"K\0K\0K\0\x87"] {
        let mut pickle = fixture.pickle.clone();
        pickle[place..place + axes.len()].copy_from_slice(wrong);
        let refusal = recognize(&pickle, MEBIBYTE).unwrap_err();
        assert!(matches!(refusal, Refusal::Structure { .. } | Refusal::Instruction { .. }), "{refusal}");
    }
}

#[test]
fn what_a_pickle_names_is_reported_and_never_called() {
    let attack = b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.";
    let refusal = recognize(attack, 100).unwrap_err();
    assert_eq!(refusal.to_string(), "the pickle names posix.system, and only a plain numpy array is taken");
    let odd = b"\x80\x03cbuilt\x1b[31m\neval\nX\x02\0\0\0id\x85R.";
    assert_eq!(recognize(odd, 100), Err(Refusal::Names("built\\x1b[31m.eval".into())));
    let long = [b"\x80\x04\x8c\xff".to_vec(), vec![b'a'; 255], b"\x8c\x01b\x93".to_vec()].concat();
    let Refusal::Names(name) = recognize(&long, 100).unwrap_err() else { panic!() };
    assert_eq!(name, format!("{}.b", "a".repeat(60)));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = recognize(&bytes, 100);
        let _ = recognize(&[&[0x80, 4], &bytes[..]].concat(), 100);
    }

    #[test]
    fn a_damaged_pickle_is_refused_or_still_an_array(
        number in any::<prop::sample::Index>(),
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut pickle = number.get(&FIXTURES).pickle.clone();
        for (place, byte) in places {
            // Mostly in the instructions, which stand in front.
            let reach = pickle.len().min(250);
            pickle[place.index(reach)] = byte;
        }
        if let Ok(array) = recognize(&pickle, MEBIBYTE) {
            prop_assert_eq!(array.data.len(), array.height * array.width * array.channels);
            prop_assert!(array.data.len() <= MEBIBYTE);
        }
    }
}
