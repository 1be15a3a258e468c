# 영상을 받아 보는 클라이언트. 화면에 띄우는 대신 프레임을 확인한다.
import pickle
import struct
import sys
from socket import *

import numpy as np

HOST, PORT = sys.argv[1], int(sys.argv[2])

client = socket(AF_INET, SOCK_STREAM)
client.connect((HOST, PORT))
print('연결됨')

data = b''
payload_size = struct.calcsize('Q')
while True:
    while len(data) < payload_size:
        packet = client.recv(4 * 1024)
        if not packet:
            sys.exit()
        data += packet
    msg_size = struct.unpack('Q', data[:payload_size])[0]
    data = data[payload_size:]
    while len(data) < msg_size:
        data += client.recv(4 * 1024)
    frame = pickle.loads(data[:msg_size])
    data = data[msg_size:]

    number = int(frame[0, 0, 0])
    expected = (np.arange(frame.size, dtype=np.uint32) * 7 + number).astype('uint8').reshape(frame.shape)
    same = np.array_equal(frame, expected)
    frame[:] = 255  # OpenCV draws into the frame
    print(f'{number}번 프레임: {frame.shape} {frame.dtype} {same}')
    if number == 0:
        break
client.close()
