# The English word for a number over UDP.
import socket
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for question in ["1", "5", "10", "0", "다섯"]:
    client.sendto(question.encode(), (host, port))
    answer, _ = client.recvfrom(1024)
    print(question, "->", answer.decode())
client.close()
