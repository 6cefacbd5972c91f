package directory

func init() { hashMemory = 64 }
