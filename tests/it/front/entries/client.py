"""What an application does with python3-ldap3: prints everything that comes back."""
import sys

import ldap3

server = ldap3.Server(sys.argv[1], get_info=ldap3.ALL)
ana = "uid=ana,ou=people,dc=example,dc=org"
connection = ldap3.Connection(server, ana, "anapw", auto_bind=True, auto_referrals=False, raise_exceptions=False)
print(sorted(server.info.naming_contexts), len(server.schema.attribute_types))
print(connection.extend.standard.who_am_i())
for entry in connection.extend.standard.paged_search(
    "dc=example,dc=org", "(objectClass=*)", attributes=["*"], paged_size=2, generator=True
):
    print(entry["type"], entry.get("dn"), sorted((entry.get("raw_attributes") or {}).items()), entry.get("uri"))
print(connection.compare(ana, "cn", "Ana"), connection.compare(ana, "cn", "Ben"), connection.result["description"])
photo = [b"\x00\xff\xd8"]
connection.modify(
    ana,
    {"description": [(ldap3.MODIFY_REPLACE, ["größer"])], "jpegPhoto": [(ldap3.MODIFY_REPLACE, photo)]},
)
print(connection.result["description"], connection.result["message"])
connection.modify("uid=ben,ou=people,dc=example,dc=org", {"sn": [(ldap3.MODIFY_REPLACE, ["x"])]})
print(connection.result["description"], connection.result["message"])
print(connection.extend.standard.modify_password(ana, "anapw", "newpw"), connection.result["description"])
print(connection.rebind(ana, "anapw"), connection.result["result"])
print(connection.rebind(ana, "newpw"), connection.extend.standard.who_am_i())
connection.unbind()

many = ldap3.Connection(server, ana, "newpw", auto_bind=True, client_strategy=ldap3.ASYNC)
ids = [many.search("dc=example,dc=org", f"(uid={name})", attributes=["cn"]) for name in ("ana", "ben", "may") * 20]
for number in ids:
    entries, result = many.get_response(number, timeout=20)
    print(result["result"], [(entry.get("dn"), entry.get("raw_attributes")) for entry in entries])
many.unbind()
