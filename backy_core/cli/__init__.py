"""The command line: words in, words out. The only room of the core that prints, one module per command."""
