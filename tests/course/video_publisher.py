# 영상을 보내는 클라이언트. 카메라 대신 번호가 든 프레임을 만든다.
import pickle
import struct
import sys
from socket import *

import numpy as np

HOST, PORT = sys.argv[1], int(sys.argv[2])

client = socket(AF_INET, SOCK_STREAM)
client.connect((HOST, PORT))
for line in sys.stdin:
    number = int(line)
    frame = (np.arange(480 * 640 * 3, dtype=np.uint32) * 7 + number).astype('uint8').reshape(480, 640, 3)
    a = pickle.dumps(frame)
    message = struct.pack('Q', len(a)) + a
    client.sendall(message)
    print(f'{number}번 보냄')
client.close()
