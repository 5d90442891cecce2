"""Which documents are worth scoring? A learned vector per document, searched by FAISS, gives candidates in nearly the order of MaxSim."""
