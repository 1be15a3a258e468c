# UDP로 한 프레임을 20개로 나누어 보낸다. 카메라 대신 번호가 든 프레임을 만든다.
import sys
from socket import *

import numpy as np

UDP_IP, UDP_PORT = sys.argv[1], int(sys.argv[2])

sock = socket(AF_INET, SOCK_DGRAM)
for line in sys.stdin:
    number = int(line)
    frame = (np.arange(480 * 640 * 3, dtype=np.uint32) * 7 + number).astype('uint8').reshape(480, 640, 3)
    d = frame.flatten()
    s = d.tobytes()
    for i in range(20):
        sock.sendto(bytes([i]) + s[i * 46080:(i + 1) * 46080], (UDP_IP, UDP_PORT))
    print(f'{number}번 보냄')
