"""A plain XMPP client for the tests: slixmpp over TCP with STARTTLS, anonymous, no Jingle.

Usage: plain.py DOMAIN PORT. Orders come as lines of JSON on stdin ({"do": "join", "room": …, "nick": …},
{"do": "say", "text": …}, {"do": "leave"}, {"do": "send", "xml": …}, where {room} and {jid} stand for the room and the
own address), events go out as lines of JSON on stdout; "stanza" is one as it came, unless it is chat or a presence of
the room.
"""

import asyncio
import json
import ssl
import sys

import slixmpp
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import StanzaPath

MUC_USER = "{http://jabber.org/protocol/muc#user}"


def tell(name, **detail):
    print(json.dumps({"name": name, **detail}), flush=True)


class Client(slixmpp.ClientXMPP):
    def __init__(self, domain):
        super().__init__(domain, "")  # no user part: SASL ANONYMOUS
        self.register_plugin("xep_0045")
        self.register_plugin("xep_0199")
        self.ssl_context.check_hostname = False  # the server's certificate is its own
        self.ssl_context.verify_mode = ssl.CERT_NONE
        self.room = self.nick = None
        self.secure = False
        self.register_handler(Callback("in the room", StanzaPath("presence"), self.presence))
        self.register_handler(Callback("to this client", StanzaPath("message"), self.message))
        self.register_handler(Callback("answers", StanzaPath("iq"), self.message))
        self.add_event_handler("groupchat_message", self.chat)
        self.add_event_handler("session_start", self.started)
        self.add_event_handler("tls_success", self.encrypted)
        self.add_event_handler("failed_all_auth", lambda _: tell("failed", error="no mechanism accepted"))
        self.add_event_handler("connection_failed", lambda e: tell("failed", error=str(e)))

    def encrypted(self, _):
        self.secure = True

    def started(self, _):
        self.send_presence()
        tell("connected", jid=str(self.boundjid), secure=self.secure)

    def message(self, stanza):
        if stanza["type"] != "groupchat":
            tell("stanza", xml=str(stanza))

    def chat(self, message):
        tell("chat", nick=message["from"].resource, text=message["body"])

    def presence(self, presence):
        if presence["from"].bare != self.room:
            return
        nick = presence["from"].resource
        codes = {status.get("code") for status in presence.xml.iter(MUC_USER + "status")}
        if presence["type"] == "error":
            tell("refused", condition=presence["error"]["condition"], text=presence["error"]["text"])
        elif presence["type"] == "unavailable":
            tell("left" if "110" in codes else "user left", nick=nick, xml=str(presence))
        else:
            item = presence.xml.find(f"{MUC_USER}x/{MUC_USER}item")
            tell("joined" if "110" in codes else "user joined", nick=nick,
                 role=item.get("role"), affiliation=item.get("affiliation"))

    def obey(self, order):
        if order["do"] == "join":
            self.room, self.nick = order["room"], order["nick"]
            presence = self.make_presence(pto=f"{self.room}/{self.nick}")
            presence.enable("muc_join")
            presence.send()
        elif order["do"] == "enter":  # a further room, such as the lobby
            presence = self.make_presence(pto=f"{order['room']}/{self.nick}")
            presence.enable("muc_join")
            presence.send()
        elif order["do"] == "say":
            self.send_message(mto=self.room, mbody=order["text"], mtype="groupchat")
        elif order["do"] == "send":
            self.send_raw(order["xml"].replace("{room}", self.room or "").replace("{jid}", str(self.boundjid)))
        elif order["do"] == "leave":
            self.send_presence(pto=f"{self.room}/{self.nick}", ptype="unavailable")


async def main(domain, port):
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    client = Client(domain)
    client.connect(("127.0.0.1", port))
    while line := await orders.readline():
        client.obey(json.loads(line))
    client.disconnect()
    await client.disconnected


if __name__ == "__main__":
    asyncio.get_event_loop().run_until_complete(main(sys.argv[1], int(sys.argv[2])))
