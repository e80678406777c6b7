"""Permissions: give every entry of a share to a group (`job`), and put all back (`undo`).

`retried` knows which entries were tried several times: `undo` puts them back attempt by attempt.
"""
