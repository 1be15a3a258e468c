# Sends a sentence, gets it in upper case; the server closes.
import socket
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

sentence = "hello world, 안녕 straße"
client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
client.connect((host, port))
client.send(sentence.encode("utf-8"))
modified = client.recv(2048).decode("utf-8")
print("서버에서:", modified)
print("파이썬과 같음:", modified == sentence.upper())
print("남은 것:", client.recv(2048))
client.close()
