"""Writes arrays of many shapes and layouts to standard output: each as a frame with its
pickle, and then as one with its shape (three numbers of four bytes) and its elements."""
import pickle
import struct
import sys

import numpy


def send(payload):
    sys.stdout.buffer.write(struct.pack("<Q", len(payload)) + payload)


random = numpy.random.RandomState(1)
shapes = [(480, 640, 3), (480, 640), (256, 256, 3), (255, 257, 3), (1, 60000), (300, 400, 4)]
shapes += [tuple(random.randint(1, 40, dimensions)) for dimensions in (2, 2, 2)]
shapes += [tuple(random.randint(1, 40, 2)) + (channels,) for channels in (1, 3, 4)]
shapes += [(channels,) + tuple(random.randint(1, 40, 2)) for channels in (1, 3, 4)]
for shape in shapes:
    frame = random.randint(0, 256, shape).astype(numpy.uint8)
    read_only = frame.copy()
    read_only.flags.writeable = False
    layouts = [frame, numpy.asfortranarray(frame), frame[::-1], frame[::2, ::2], read_only, frame.swapaxes(0, 1)]
    if frame.ndim == 3:
        layouts.append(frame.transpose(1, 2, 0))
    for array in layouts:
        height, width, channels = array.shape if array.ndim == 3 else array.shape + (1,)
        if channels not in (1, 3, 4):
            continue
        for protocol in 3, 4, 5:
            send(pickle.dumps(array, protocol))
            send(struct.pack("<III", height, width, channels) + array.tobytes())
