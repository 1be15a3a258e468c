# The server tells the time as soon as one connects.
import socket
import sys
import time

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
client.connect((host, port))
text = client.recv(1024).decode()
client.close()
print("글자 수:", len(text))
told = time.mktime(time.strptime(text))  # fails where it is not the form of time.ctime
print("지금 시각:", abs(time.time() - told) < 30)
