"""analysis.gamma"""
