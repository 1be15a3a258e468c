//! Numpy arrays in pickles.

use arbitrary::{Result, Unstructured};
use onepoll::media::convert;
use onepoll::wire::pickle::{self, Refusal};

use crate::generate::{bytes, one_of};
use crate::{Memory, Target};

pub const TARGET: Target = Target {
    name: "pickles",
    check,
    generate,
    words: &[
        b"\x80\x03",
        b"\x80\x04\x95",
        b"\x80\x05",
        b"\x8c\x05numpy",
        b"\x8c\x07ndarray",
        b"\x8c\x05dtype",
        b"\x8c\x02u1",
        b"\x8c\x0c_reconstruct",
        b"\x8c\x0b_frombuffer",
        b"\x8c\x15numpy.core.multiarray",
        b"\x8c\x12numpy._core.numeric",
        b"cnumpy\nndarray\n",
        b"cnumpy\ndtype\n",
        b"cnumpy.core.multiarray\n_reconstruct\n",
        b"\x93",
        b"\x94",
        b"\x85",
        b"\x86",
        b"\x87",
        b"\x88",
        b"\x89",
        b"R",
        b"b",
        b"tb",
        b"(",
        b"t",
        b"N",
        b"K\0\x85",
        b"C\x01b",
        b"J\xff\xff\xff\xff",
        b"J\xff\xff\xff\x7f",
        b"M\xff\xff",
        b"\x8c\x01|",
        b"\x8c\x01C",
        b"\x8c\x01F",
        b"\x8c\x01K",
        b"h\0",
        b"q\0",
        b".",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff",
        b"B\xff\xff\xff\xff",
        b"\x96",
        b"\x8c\x05uint8",
    ],
    memory: Memory { fixed: 64 * 1024, per_byte: 16 },
};

fn check(input: &[u8]) {
    for limit in [0, 64, usize::MAX] {
        match pickle::recognize(input, limit) {
            Ok(array) => {
                let pickle::Array { data, height, width, channels, strides } = array;
                assert!(height > 0 && width > 0 && channels > 0 && data.len() <= limit);
                assert_eq!(data.len(), height * width * channels);
                let mut places: Vec<usize> = Vec::with_capacity(data.len());
                for (row, column) in (0..height).flat_map(|row| (0..width).map(move |column| (row, column))) {
                    places.extend(
                        (0..channels)
                            .map(|channel| row * strides[0] + column * strides[1] + channel * strides[2]),
                    );
                }
                places.sort_unstable();
                assert!(
                    places.into_iter().eq(0..data.len()),
                    "strides that miss an element, or go over one twice"
                );
                is_picture(&array);
            }
            Err(Refusal::TooLarge { bytes, limit: told }) => assert!(bytes > limit as u64 && told == limit),
            Err(refusal) => assert!(!refusal.to_string().contains(char::is_control), "{refusal}"),
        }
    }
    is_read_back(input);
}

fn is_picture(array: &pickle::Array) {
    let Ok(picture) = convert::from_array(array) else { return };
    let size = (usize::from(picture.width()), usize::from(picture.height()));
    assert_eq!(size, (array.width, array.height));
    let again = convert::to_pickle(&picture);
    let read = pickle::recognize(&again, picture.bgr().len()).expect("what is written is recognized");
    assert_eq!(convert::from_array(&read), Ok(picture));
}

/// The input as pixels.
fn is_read_back(pixels: &[u8]) {
    let width = pixels.len() / 3;
    if width == 0 {
        return;
    }
    let pixels = &pixels[..width * 3];
    let mut out = Vec::new();
    pickle::write(1, width as u16, pixels, &mut out);
    let array = pickle::recognize(&out, pixels.len()).expect("what is written is recognized");
    assert_eq!((array.height, array.width, array.channels, array.data), (1, width, 3, pixels));
    assert!(pickle::recognize(&out, pixels.len() - 1).is_err());
}

/// An array as numpy writes it, in one of four ways, with a shape that may not fit.
fn generate(u: &mut Unstructured) -> Result<Vec<u8>> {
    let (dimensions, data) = (shape(u)?, bytes(u, 64)?);
    let dtype = one_of(u, &[b"\x8c\x02u1", b"\x8c\x02f8", b"X\x02\0\0\0u1"])?;
    let dtype = [
        b"\x8c\x05numpy\x8c\x05dtype\x93",
        &dtype[..],
        b"\x89\x88\x87R(K\x03\x8c\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb",
    ]
    .concat();
    let data = [b"B", &(data.len() as u32).to_le_bytes()[..], &data].concat();
    Ok(match u.int_in_range(0..=3u8)? {
        0 => [
            &b"\x80\x04\x8c\x15numpy.core.multiarray\x8c\x0c_reconstruct\x93\x8c\x05numpy\x8c\x07ndarray\x93K\0\x85C\x01b\x87R(K\x01"[..],
            &dimensions,
            &dtype,
            &one_of(u, &[b"\x88", b"\x89"])?,
            &data,
            b"tb.",
        ]
        .concat(),
        1 => [
            &b"\x80\x05\x8c\x13numpy._core.numeric\x8c\x0b_frombuffer\x93("[..],
            &data,
            &dtype,
            &dimensions,
            &one_of(u, &[b"\x8c\x01C", b"\x8c\x01F", b"\x8c\x01KK\x01K\0K\x02\x87", b"\x8c\x01KK\x02K\0K\x01\x87"])?,
            b"tR.",
        ]
        .concat(),
        2 => [b"\x80\x05\x8c\x05numpy\x8c\x07ndarray\x93", &dimensions[..], b"\x8c\x05uint8", &data, b"\x87R."].concat(),
        _ => [&b"\x80\x04"[..], &dimensions, &bytes(u, 40)?, b"."].concat(),
    })
}

fn shape(u: &mut Unstructured) -> Result<Vec<u8>> {
    let count = u.int_in_range(1..=3u8)?;
    let mut shape = Vec::new();
    for _ in 0..count {
        match u.ratio(1, 8)? {
            true => shape.extend([&b"J"[..], &u.arbitrary::<i32>()?.to_le_bytes()].concat()),
            false => shape.extend([b'K', u.int_in_range(0..=4)?]),
        }
    }
    shape.push(0x84 + count);
    Ok(shape)
}
