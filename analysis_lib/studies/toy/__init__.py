"""studies.toy"""
