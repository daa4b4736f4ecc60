"""The product from outside: a subprocess in an empty folder, against a server that shares no line with it.

`server` implements the API page a second time; `world` is the user's machine; `books` compares what the server sold with
what the product says it bought.
"""
