"""What an application does with each strategy of python3-ldap3: prints everything that comes back."""
import ssl
import sys
import threading

import ldap3

url, authority = sys.argv[1:]
base = "dc=example,dc=org"
ana = "uid=ana,ou=people,dc=example,dc=org"
tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=authority) if authority else None
server = ldap3.Server(url, get_info=ldap3.SCHEMA, tls=tls)
when = ldap3.AUTO_BIND_TLS_BEFORE_BIND if authority else ldap3.AUTO_BIND_NO_TLS


def connect(**settings):
    return ldap3.Connection(server, ana, "anapw", auto_bind=when, auto_referrals=False, **settings)


def finished(connection, outcome):
    """The result and the entries of an operation, whatever the strategy."""
    if connection.strategy.sync:
        return connection.result, connection.response or []
    entries, result = connection.get_response(outcome, timeout=20)
    return result, entries or []


def show(connection, what, outcome):
    result, entries = finished(connection, outcome)
    print(what, result["result"], repr(result["message"]), result["dn"])
    for entry in entries:
        print("  ", entry.get("type"), entry.get("dn"), sorted((entry.get("raw_attributes") or {}).items()))


for strategy in (ldap3.SYNC, ldap3.ASYNC, ldap3.RESTARTABLE):
    print("--", strategy)
    connection = connect(client_strategy=strategy)
    show(connection, "search", connection.search(base, "(objectClass=person)", attributes=["cn", "mail"]))
    show(connection, "nothing", connection.search("dc=nowhere", "(cn=*)"))
    show(connection, "compare", connection.compare(ana, "cn", "Ana"))
    show(connection, "modify", connection.modify(ana, {"description": [(ldap3.MODIFY_REPLACE, [strategy])]}))
    show(connection, "refused", connection.delete(base))
    connection.unbind()

connection = connect()
pages = connection.extend.standard.paged_search(base, "(objectClass=*)", paged_size=2, generator=True)
print([(page["type"], page.get("dn")) for page in pages])
print(connection.extend.standard.who_am_i())
for old, new in (("anapw", "other pw"), ("other pw", "anapw")):
    print(connection.extend.standard.modify_password(ana, old, new), connection.result["result"])
connection.unbind()

# A pool of connections for many threads.
pool = connect(client_strategy=ldap3.REUSABLE, pool_name="pool", pool_size=4)
answers = [None] * 60


def ask(number):
    uid = ("ana", "ben", "nobody")[number % 3]
    entries, result = pool.get_response(pool.search(base, f"(uid={uid})", attributes=["cn"]), timeout=20)
    answers[number] = (result["result"], [(entry.get("dn"), entry.get("raw_attributes")) for entry in entries])


threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(answers))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(answers)
pool.unbind()
