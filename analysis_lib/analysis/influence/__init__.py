"""analysis.influence"""
